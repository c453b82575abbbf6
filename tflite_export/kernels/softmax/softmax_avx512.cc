#include "softmax/softmax_loop.h"

namespace qsparse {

SoftmaxFunction GetAvx512Softmax() { return &SoftmaxLoop; }

}  // namespace qsparse
