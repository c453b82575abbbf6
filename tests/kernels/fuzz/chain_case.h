// A random chain of layers, sums, borders and windows, and what every tensor of it must be.
#ifndef QSPARSE_FUZZ_CHAIN_CASE_H_
#define QSPARSE_FUZZ_CHAIN_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "chain/chain.h"

namespace qsparse::fuzz {

struct ChainCase {
  std::vector<ChainNode> nodes;  // without kernels; tensors are indices of `values`
  std::vector<int32_t> inputs;
  std::vector<int32_t> outputs;
  std::vector<std::vector<int8_t>> values;   // of every tensor, by the reference
  std::vector<std::vector<int8_t>> weights;  // of every node, where `nodes` finds them
  std::string description;
};

// Everything follows from the seed and the largest number of multiplications.
ChainCase DrawChainCase(uint64_t seed, int64_t max_macs);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_CHAIN_CASE_H_
