// Shapes that are repeated until they are alike.
#ifndef QSPARSE_READ_BROADCAST_H_
#define QSPARSE_READ_BROADCAST_H_

#include <cstdint>
#include <vector>

namespace qsparse {

// As numpy does it. False where the shapes do not go together.
bool Broadcast(const std::vector<int32_t>& a, const std::vector<int32_t>& b,
               std::vector<int32_t>* result);

// Which of the items of `dims`, as many axes as `result` has, goes into each item of
// `result`; axes of length 1 are repeated.
std::vector<int32_t> Repeat(const int32_t* dims, const std::vector<int32_t>& result);

}  // namespace qsparse

#endif  // QSPARSE_READ_BROADCAST_H_
