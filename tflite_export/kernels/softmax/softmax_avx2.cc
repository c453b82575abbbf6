#include "softmax/softmax_loop.h"

namespace qsparse {

SoftmaxFunction GetAvx2Softmax() { return &SoftmaxLoop; }

}  // namespace qsparse
