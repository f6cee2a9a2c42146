#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bn_train_fuzz::png(bytes);
});
