#include "cpu.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace qsparse {
namespace {

// Names of ISAs that this build lacks are known too: a recipe that forces one must
// run everywhere, on the best there is.
constexpr struct {
  const char* name;
  Isa isa;
} kNames[] = {{"portable", Isa::kPortable},
              {"avx2", Isa::kAvx2},
              {"avxvnni", Isa::kAvxVnni},
              {"avx512vnni", Isa::kAvx512Vnni},
              {"neon", Isa::kNeon},
              {"dotprod", Isa::kNeonDotprod},
              {"i8mm", Isa::kNeonI8mm}};

#if defined(__x86_64__)

struct CpuidLeaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidLeaf Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuidLeaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

// The CPU may have wide registers that the operating system does not save.
uint64_t EnabledRegisterState(const CpuidLeaf& leaf1) {
  constexpr uint32_t kOsxsave = 1u << 27;
  if ((leaf1.ecx & kOsxsave) == 0) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool HasAvx2() {
  constexpr uint64_t kYmmState = 0x6;
  constexpr uint32_t kAvx2 = 1u << 5;
  return (EnabledRegisterState(Cpuid(1)) & kYmmState) == kYmmState &&
         (Cpuid(7).ebx & kAvx2) != 0;
}

bool HasAvxVnni() {
  constexpr uint32_t kAvxVnni = 1u << 4;
  return HasAvx2() && (Cpuid(7, 1).eax & kAvxVnni) != 0;
}

bool IsIntel() {
  constexpr uint32_t kGenu = 0x756e6547;  // the start of "GenuineIntel"
  return Cpuid(0).ebx == kGenu;
}

bool HasAvx512Vnni() {
  constexpr uint64_t kZmmState = 0xe6;
  constexpr uint32_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kVnni = 1u << 11;
  constexpr uint32_t kNeeded = kF | kDq | kBw | kVl;
  const CpuidLeaf leaf7 = Cpuid(7);
  return (EnabledRegisterState(Cpuid(1)) & kZmmState) == kZmmState &&
         (leaf7.ebx & kNeeded) == kNeeded && (leaf7.ecx & kVnni) != 0;
}

#elif defined(__aarch64__) && defined(__APPLE__)

bool HasFeature(const char* name) {
  int32_t value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

bool HasDotprod() { return HasFeature("hw.optional.arm.FEAT_DotProd"); }
bool HasI8mm() { return HasFeature("hw.optional.arm.FEAT_I8MM"); }
bool HasSme2() { return HasFeature("hw.optional.arm.FEAT_SME2"); }

#elif defined(__aarch64__)

// The kernel's numbers; the headers of older systems lack some of their names.
bool HasDotprod() {
  constexpr unsigned long kAsimdDp = 1ul << 20;
  return (getauxval(AT_HWCAP) & kAsimdDp) != 0;
}

bool HasI8mm() {
  constexpr unsigned long kI8mm = 1ul << 13;
  return (getauxval(AT_HWCAP2) & kI8mm) != 0;
}

bool HasSme2() {
  constexpr unsigned long kSme2 = 1ul << 37;
  return (getauxval(AT_HWCAP2) & kSme2) != 0;
}

#endif

}  // namespace

DenseIsa DenseIsaOfCpu() {
#if defined(__x86_64__)
  if (HasAvx512Vnni()) {
    return IsIntel() ? DenseIsa::kAvx512VnniIntel : DenseIsa::kAvx512Vnni;
  }
  if (HasAvxVnni()) return DenseIsa::kAvxVnni;
  if (HasAvx2()) return DenseIsa::kAvx2;
#elif defined(__aarch64__)
  if (HasSme2()) return DenseIsa::kSme2;
  if (HasI8mm()) return DenseIsa::kNeonI8mm;
  return HasDotprod() ? DenseIsa::kNeonDotprod : DenseIsa::kNeon;
#endif
  return DenseIsa::kOther;
}

bool HasAvx512Vbmi() {
#if defined(__x86_64__)
  constexpr uint32_t kVbmi = 1u << 1;
  return HasAvx512Vnni() && (Cpuid(7).ecx & kVbmi) != 0;
#else
  return false;
#endif
}

bool IsSupported(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512Vnni:
      return HasAvx512Vnni();
    case Isa::kAvxVnni:
      return HasAvxVnni();
    case Isa::kAvx2:
      return HasAvx2();
#elif defined(__aarch64__)
    case Isa::kNeonI8mm:
      return HasI8mm();
    case Isa::kNeonDotprod:
      return HasDotprod();
    case Isa::kNeon:
      return true;
#endif
    case Isa::kPortable:
      return true;
    default:
      return false;
  }
}

Isa BestIsa() {
#define QSPARSE_KERNEL(isa, variable) \
  if (IsSupported(Isa::isa)) return Isa::isa;
#include "kernels.inc"
#undef QSPARSE_KERNEL
  return Isa::kPortable;
}

const char* IsaName(Isa isa) {
  for (const auto& known : kNames) {
    if (isa == known.isa) return known.name;
  }
  return "";
}

bool ParseIsa(const std::string& name, Isa* isa) {
  for (const auto& known : kNames) {
    if (name != known.name) continue;
    *isa = known.isa;
    return true;
  }
  return false;
}

}  // namespace qsparse
