// Everything is in candle.h.
