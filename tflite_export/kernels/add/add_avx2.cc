#include "add/add_loop.h"

namespace qsparse {

AddFunction GetAvx2Add(uint8_t flip) { return ChooseLoop(flip); }

}  // namespace qsparse
