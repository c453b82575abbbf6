#include "add_loop.h"

namespace qsparse {

AddFunction GetAvx512Add(uint8_t flip) { return ChooseLoop(flip); }

}  // namespace qsparse
