#include "regions/fuse.h"

#include <algorithm>
#include <map>

namespace qsparse {
namespace {

class Fusion {
 public:
  Fusion(const std::vector<RowNode>& nodes, const std::vector<int32_t>& leave)
      : nodes_(nodes), taken_(nodes.size(), false) {
    for (const int32_t tensor : leave) ++reads_[tensor];
    for (size_t i = 0; i < nodes.size(); ++i) {
      makers_[nodes[i].output.index] = i;
      for (int k = 0; k < nodes[i].input_count; ++k) ++reads_[nodes[i].inputs[k].index];
    }
  }

  std::vector<RowNode> Run() {
    std::vector<RowNode> fused = nodes_;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!Normalize(nodes_[i], &fused[i]) && !MultiplyAdd(nodes_[i], &fused[i])) {
        SumOfSquares(nodes_[i], &fused[i]);
      }
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!taken_[i]) Scaled(nodes_[i], &fused[i]);
    }
    std::vector<RowNode> left;
    for (size_t i = 0; i < fused.size(); ++i) {
      if (!taken_[i]) left.push_back(fused[i]);
    }
    return left;
  }

 private:
  // Who makes a tensor that `times` operands are, and nobody else reads; null if nobody.
  const RowNode* Maker(const RowTensor& tensor, RowOp op, int32_t times = 1) const {
    const auto found = makers_.find(tensor.index);
    if (found == makers_.end() || nodes_[found->second].op != op ||
        taken_[found->second] || reads_.at(tensor.index) != times) {
      return nullptr;
    }
    return &nodes_[found->second];
  }

  void Take(const RowNode* node) { taken_[makers_.at(node->output.index)] = true; }

  // dequantize(a) * b
  bool Scaled(const RowNode& product, RowNode* fused) {
    if (product.op != RowOp::kMultiply) return false;
    for (const int factor : {0, 1}) {
      const RowNode* const steps = Maker(product.inputs[factor], RowOp::kDequantize);
      const RowTensor& scale = product.inputs[1 - factor];
      if (steps == nullptr || !AreAsLong(product, {&steps->output, &scale})) continue;
      *fused = product;
      fused->op = RowOp::kScaled;
      fused->inputs[0] = steps->inputs[0];
      fused->inputs[1] = scale;
      fused->scale = steps->scale;
      fused->zero_point = steps->zero_point;
      Take(steps);
      return true;
    }
    return false;
  }

  // a * b + c, or dequantize(a) * b + c
  bool MultiplyAdd(const RowNode& sum, RowNode* fused) {
    if (sum.op != RowOp::kAdd) return false;
    for (const int side : {0, 1}) {
      const RowNode* const product = Maker(sum.inputs[side], RowOp::kMultiply);
      const RowTensor& other = sum.inputs[1 - side];
      if (product == nullptr ||
          !AreAsLong(sum, {&product->inputs[0], &product->inputs[1], &other})) {
        continue;
      }
      RowNode scaled = *product;
      const bool from_int8 = Scaled(*product, &scaled);
      *fused = sum;
      fused->op = from_int8 ? RowOp::kScaledSum : RowOp::kMultiplyAdd;
      fused->input_count = 3;
      fused->inputs[0] = scaled.inputs[0];
      fused->inputs[1] = scaled.inputs[1];
      fused->inputs[2] = other;
      fused->scale = scaled.scale;
      fused->zero_point = scaled.zero_point;
      Take(product);
      return true;
    }
    return false;
  }

  // The sum of (a - b)^2, where b is one value of the row.
  bool SumOfSquares(const RowNode& sum, RowNode* fused) {
    if (sum.op != RowOp::kSum) return false;
    const RowNode* const squares = Maker(sum.inputs[0], RowOp::kSquaredDifference);
    if (squares == nullptr) return false;
    const int values = squares->inputs[0].columns == sum.columns() ? 0 : 1;
    if (squares->inputs[1 - values].columns != 1) return false;
    *fused = sum;
    fused->op = RowOp::kSumOfSquaredDifferences;
    fused->input_count = 2;
    fused->inputs[0] = squares->inputs[values];
    fused->inputs[1] = squares->inputs[1 - values];
    Take(squares);
    return true;
  }

  // a * t + d * t, where t = b * c, and b and d are one value of the row.
  bool Normalize(const RowNode& sum, RowNode* fused) {
    if (sum.op != RowOp::kAdd) return false;
    const RowNode* const products[2] = {Maker(sum.inputs[0], RowOp::kMultiply),
                                        Maker(sum.inputs[1], RowOp::kMultiply)};
    if (products[0] == nullptr || products[1] == nullptr || products[0] == products[1]) {
      return false;
    }
    for (const int first : {0, 1}) {
      for (const int second : {0, 1}) {
        const RowTensor& shared = products[0]->inputs[first];
        if (shared.index != products[1]->inputs[second].index) continue;
        const RowNode* const factor = Maker(shared, RowOp::kMultiply, 2);
        if (factor == nullptr) continue;
        const RowTensor* others[2] = {&products[0]->inputs[1 - first],
                                      &products[1]->inputs[1 - second]};
        const RowTensor* factors[2] = {&factor->inputs[0], &factor->inputs[1]};
        if (others[0]->columns == 1) std::swap(others[0], others[1]);
        if (factors[1]->columns == 1) std::swap(factors[0], factors[1]);
        if (!AreAsLong(sum, {others[0], factors[1]}) || others[1]->columns != 1 ||
            factors[0]->columns != 1 || sum.columns() == 1) {
          continue;
        }
        *fused = sum;
        fused->op = RowOp::kNormalize;
        fused->input_count = 4;
        fused->inputs[0] = *others[0];
        fused->inputs[1] = *factors[0];
        fused->inputs[2] = *factors[1];
        fused->inputs[3] = *others[1];
        for (const RowNode* node : {products[0], products[1], factor}) Take(node);
        return true;
      }
    }
    return false;
  }

  static bool AreAsLong(const RowNode& node,
                        std::initializer_list<const RowTensor*> tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [&](const RowTensor* tensor) {
      return tensor->columns == node.columns();
    });
  }

  const std::vector<RowNode>& nodes_;
  std::vector<bool> taken_;            // into another node
  std::map<int32_t, size_t> makers_;   // of tensors
  std::map<int32_t, int32_t> reads_;   // of tensors
};

}  // namespace

std::vector<RowNode> Fuse(const std::vector<RowNode>& nodes,
                          const std::vector<int32_t>& leave) {
  return Fusion(nodes, leave).Run();
}

}  // namespace qsparse
