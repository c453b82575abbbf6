// The loops of row_math.h, over a type of registers; internal linkage, so that no copy
// can stand in for another.
//
// A type V has: `Floats`, kLanes, arithmetic on whole registers, Load and LoadInt8 of a
// register or of its first `n` lanes, Store and StoreInt8 likewise, and Sum, whose order
// is its own.
#ifndef QSPARSE_REGIONS_ROW_LOOP_H_
#define QSPARSE_REGIONS_ROW_LOOP_H_

#include "regions/row_math.h"

namespace qsparse {
namespace {

// Where a register of a row begins, and how many lanes of it are the row's.
template <typename V, bool kWhole>
struct At {
  int32_t i;
  int32_t n;

  auto Load(const void* row) const {
    const float* const from = static_cast<const float*>(row) + i;
    if constexpr (kWhole) return V::Load(from);
    return V::LoadTail(from, n);
  }
  auto LoadSteps(const void* row, int32_t zero_point) const {
    const int8_t* const from = static_cast<const int8_t*>(row) + i;
    if constexpr (kWhole) return V::LoadSteps(from, zero_point);
    return V::LoadStepsTail(from, n, zero_point);
  }
};

// Calls function(At) for every register of a row.
template <typename V, typename Function>
void ForEach(int32_t columns, const Function& function) {
  int32_t i = 0;
  for (; i + V::kLanes <= columns; i += V::kLanes) function(At<V, true>{i, V::kLanes});
  if (i < columns) function(At<V, false>{i, columns - i});
}

// The same, and stores what it returns.
template <typename V, typename Function>
void Map(const RowStep& s, const Function& function) {
  auto* const output = static_cast<float*>(s.output);
  ForEach<V>(s.columns, [&](const auto& at) {
    const auto value = function(at);
    if (at.n == V::kLanes) {
      V::Store(output + at.i, value);
    } else {
      V::StoreTail(output + at.i, at.n, value);
    }
  });
}

// XNNPACK adds it to a zero: there is no sum of -0.
inline void StoreSum(const RowStep& s, float sum) {
  *static_cast<float*>(s.output) = 0.0f + sum;
}

inline float First(const void* row) { return *static_cast<const float*>(row); }

// The operation is known inside the loop, and where the operands come from.
template <typename V, typename Operation>
void Binary(const RowStep& s, const Operation& operation) {
  if (s.spread == Spread::kLeft) {
    const auto value = V::Set(First(s.inputs[0]));
    Map<V>(s, [&](const auto& at) { return operation(value, at.Load(s.inputs[1])); });
  } else if (s.spread == Spread::kRight) {
    const auto value = V::Set(First(s.inputs[1]));
    Map<V>(s, [&](const auto& at) { return operation(at.Load(s.inputs[0]), value); });
  } else {
    Map<V>(s, [&](const auto& at) {
      return operation(at.Load(s.inputs[0]), at.Load(s.inputs[1]));
    });
  }
}

template <typename V>
auto SquaredDifference(typename V::Floats a, typename V::Floats b) {
  const auto difference = V::Subtract(a, b);
  return V::Multiply(difference, difference);
}

// dequantize(a) * b, and what `finish` makes of it.
template <typename V, typename Finish>
void Scaled(const RowStep& s, const Finish& finish) {
  const auto scale = V::Set(s.scale);
  Map<V>(s, [&](const auto& at) {
    const auto value = V::Multiply(at.LoadSteps(s.inputs[0], s.zero_point), scale);
    return finish(V::Multiply(value, at.Load(s.inputs[1])), at);
  });
}

template <typename V>
void Normalize(const RowStep& s) {
  const auto b = V::Set(First(s.inputs[1])), d = V::Set(First(s.inputs[3]));
  Map<V>(s, [&](const auto& at) {
    const auto t = V::Multiply(b, at.Load(s.inputs[2]));
    return V::Add(V::Multiply(at.Load(s.inputs[0]), t), V::Multiply(d, t));
  });
}

// One step of Newton's method from the CPU's estimate, as XNNPACK takes it.
template <typename V>
typename V::Floats ReciprocalRoot(typename V::Floats x) {
  const auto y = V::EstimateReciprocalRoot(x);
  const auto error = V::Subtract(V::Multiply(x, V::Multiply(y, y)), V::Set(1.0f));
  const auto better =
      V::Subtract(y, V::Multiply(error, V::Multiply(V::Set(0.5f), y)));
  return V::ZeroWhereInfinite(x, better);
}

template <typename V>
void RowLoop(const RowStep& s) {
  switch (s.op) {
    case RowOp::kDequantize: {
      const auto scale = V::Set(s.scale);
      return Map<V>(s, [&](const auto& at) {
        return V::Multiply(at.LoadSteps(s.inputs[0], s.zero_point), scale);
      });
    }
    case RowOp::kQuantize: {
      auto* const output = static_cast<int8_t*>(s.output);
      const auto scale = V::Set(s.scale);
      return ForEach<V>(s.columns, [&](const auto& at) {
        V::StoreSteps(output + at.i, at.n, V::Multiply(at.Load(s.inputs[0]), scale),
                      s.zero_point);
      });
    }
    case RowOp::kAdd:
      return Binary<V>(s, [](auto a, auto b) { return V::Add(a, b); });
    case RowOp::kSubtract:
      return Binary<V>(s, [](auto a, auto b) { return V::Subtract(a, b); });
    case RowOp::kMultiply:
      return Binary<V>(s, [](auto a, auto b) { return V::Multiply(a, b); });
    case RowOp::kSquaredDifference:
      return Binary<V>(s, [](auto a, auto b) { return SquaredDifference<V>(a, b); });
    case RowOp::kNegate:
      return Map<V>(s, [&](const auto& at) { return V::Negate(at.Load(s.inputs[0])); });
    case RowOp::kReciprocalRoot:
      return Map<V>(
          s, [&](const auto& at) { return ReciprocalRoot<V>(at.Load(s.inputs[0])); });
    case RowOp::kSum:
      return StoreSum(s, V::Sum(s.columns, [&](const auto& at) {
        return at.Load(s.inputs[0]);
      }));
    case RowOp::kScaled:
      return Scaled<V>(s, [](auto value, const auto&) { return value; });
    case RowOp::kScaledSum:
      return Scaled<V>(s, [&](auto value, const auto& at) {
        return V::Add(value, at.Load(s.inputs[2]));
      });
    case RowOp::kMultiplyAdd:
      return Map<V>(s, [&](const auto& at) {
        return V::Add(V::Multiply(at.Load(s.inputs[0]), at.Load(s.inputs[1])),
                      at.Load(s.inputs[2]));
      });
    case RowOp::kSumOfSquaredDifferences: {
      const auto other = V::Set(First(s.inputs[1]));
      return StoreSum(s, V::Sum(s.columns, [&](const auto& at) {
        return SquaredDifference<V>(at.Load(s.inputs[0]), other);
      }));
    }
    case RowOp::kNormalize:
      return Normalize<V>(s);
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_REGIONS_ROW_LOOP_H_
