// Runs the kernels of one element type on the CPU: host THREADS SHARE [FILE OF CASES]. Prints how many cases, kernels
// and values it compared; exits with 1 where one differed.

#include "check.h"
#include "layer.h"
#include "loss.h"
#include "optimizer.h"
#include "passes.h"
#include "persistent.h"

int main(int count, char** arguments) {
    if (count < 3) {
        std::fprintf(stderr, "usage: host THREADS SHARE [CASES]\n");
        return 2;
    }
    host::Block block(static_cast<unsigned>(std::atoi(arguments[1])));
    host::block = &block;
    const unsigned share = static_cast<unsigned>(std::atoi(arguments[2]));
    check_passes(share);
    check_persistent(share);
    if (ELEMENT == F32) check_optimizer(share);
    if (ELEMENT == F32) check_loss(share);
    if (count > 3) check_layers(arguments[3], share);
    std::printf("%s: %lld cases, %lld values, %lld failures\n", ELEMENT_NAME, checks.cases, checks.values, checks.failures);
    return checks.failures != 0;
}
