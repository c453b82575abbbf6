#include "base/cpu.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace qsparse {
namespace {

// One CPU for every difference that the cost model knows.
constexpr struct {
  const char* name;
  Cpu cpu;
} kCpus[] = {
#if defined(__x86_64__)
    {"haswell", {Isa::kAvx2, XnnpackIsa::kAvx2, false, true}},
    {"znver3", {Isa::kAvx2, XnnpackIsa::kAvx2, false, false}},
    {"skylake-avx512", {Isa::kAvx2, XnnpackIsa::kAvx512, false, true}},
    {"alderlake", {Isa::kAvxVnni, XnnpackIsa::kAvxVnni, false, true}},
    {"cascadelake", {Isa::kAvx512Vnni, XnnpackIsa::kAvx512Vnni, false, true}},
    {"icelake-server", {Isa::kAvx512Vnni, XnnpackIsa::kAvx512Vnni, true, true}},
    {"znver5", {Isa::kAvx512Vnni, XnnpackIsa::kAvx512Vnni, true, false}},
    {"sapphirerapids", {Isa::kAvx512Vnni, XnnpackIsa::kAmx, true, true}},
#elif defined(__aarch64__)
    {"cortex-a53", {Isa::kNeon, XnnpackIsa::kNeon, false, false}},
    {"cortex-a76", {Isa::kNeonDotprod, XnnpackIsa::kNeonDotprod, false, false}},
    {"cortex-a710", {Isa::kNeonI8mm, XnnpackIsa::kNeonI8mm, false, false}},
    {"apple-m4", {Isa::kNeonI8mm, XnnpackIsa::kSme2, false, false}},
#endif
};

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

bool HasAvx512() {
  constexpr uint64_t kZmmState = 0xe6;
  constexpr uint32_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kNeeded = kF | kDq | kBw | kVl;
  return (EnabledRegisterState(Cpuid(1)) & kZmmState) == kZmmState &&
         (Cpuid(7).ebx & kNeeded) == kNeeded;
}

bool HasAvx512Vnni() {
  constexpr uint32_t kVnni = 1u << 11;
  return HasAvx512() && (Cpuid(7).ecx & kVnni) != 0;
}

bool HasAvx512Vbmi() {
  constexpr uint32_t kVbmi = 1u << 1;
  return HasAvx512Vnni() && (Cpuid(7).ecx & kVbmi) != 0;
}

// The tiles of a process stay locked until it asks for them.
bool MayUseTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// As XNNPACK asks, which wants GFNI too.
bool HasAmx() {
  constexpr uint64_t kTileState = 0x60000;
  constexpr uint32_t kTile = 1u << 24, kInt8 = 1u << 25, kGfni = 1u << 8;
  const CpuidLeaf leaf7 = Cpuid(7);
  return HasAvx512Vnni() && (leaf7.ecx & kGfni) != 0 &&
         (leaf7.edx & (kTile | kInt8)) == (kTile | kInt8) &&
         (EnabledRegisterState(Cpuid(1)) & kTileState) == kTileState && MayUseTiles();
}

XnnpackIsa DetectXnnpackIsa() {
  if (HasAmx()) return XnnpackIsa::kAmx;
  if (HasAvx512Vnni()) return XnnpackIsa::kAvx512Vnni;
  if (HasAvxVnni()) return XnnpackIsa::kAvxVnni;
  if (HasAvx512()) return XnnpackIsa::kAvx512;
  return HasAvx2() ? XnnpackIsa::kAvx2 : XnnpackIsa::kOther;
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

#if defined(__aarch64__)
XnnpackIsa DetectXnnpackIsa() {
  if (HasSme2()) return XnnpackIsa::kSme2;
  if (HasI8mm()) return XnnpackIsa::kNeonI8mm;
  return HasDotprod() ? XnnpackIsa::kNeonDotprod : XnnpackIsa::kNeon;
}
#endif

bool Always() { return true; }

// Where the detection of another architecture was meant.
[[maybe_unused]] bool Never() { return false; }

#if defined(__x86_64__)
#define QSPARSE_ON_X86(is_supported) is_supported
#else
#define QSPARSE_ON_X86(is_supported) Never
#endif
#if defined(__aarch64__)
#define QSPARSE_ON_ARM(is_supported) is_supported
#else
#define QSPARSE_ON_ARM(is_supported) Never
#endif

constexpr struct {
  Isa isa;
  const char* name;
  bool (*is_supported)();
} kIsas[] = {
#define QSPARSE_ISA(isa, name, is_supported, peak) {Isa::isa, name, is_supported},
#include "base/isas.inc"
#undef QSPARSE_ISA
};

Isa DetectIsa() {
  for (const auto& row : kIsas) {
    if (row.is_supported()) return row.isa;
  }
  return Isa::kPortable;
}

Cpu Detect() {
  Cpu cpu;
  cpu.isa = DetectIsa();
#if defined(__x86_64__)
  cpu.has_vbmi = HasAvx512Vbmi();
  cpu.is_intel = IsIntel();
#endif
#if defined(__x86_64__) || defined(__aarch64__)
  cpu.xnnpack = DetectXnnpackIsa();
#endif
  return cpu;
}

}  // namespace

const Cpu& ThisCpu() {
  static const Cpu cpu = Detect();
  return cpu;
}

bool FindCpu(const std::string& name, Cpu* cpu) {
  for (const auto& known : kCpus) {
    if (name != known.name) continue;
    *cpu = known.cpu;
    return true;
  }
  return false;
}

const char* XnnpackIsaName(XnnpackIsa isa) {
  switch (isa) {
    case XnnpackIsa::kAvx2:
      return "AVX2";
    case XnnpackIsa::kAvx512:
      return "AVX-512 without VNNI";
    case XnnpackIsa::kAvxVnni:
      return "AVX-VNNI";
    case XnnpackIsa::kAvx512Vnni:
      return "AVX512-VNNI";
    case XnnpackIsa::kAmx:
      return "AMX";
    case XnnpackIsa::kNeon:
      return "NEON";
    case XnnpackIsa::kNeonDotprod:
      return "NEON dot products";
    case XnnpackIsa::kNeonI8mm:
      return "NEON i8mm";
    case XnnpackIsa::kSme2:
      return "SME2";
    case XnnpackIsa::kOther:
      break;
  }
  return "instructions older than AVX2";
}

bool IsSupported(Isa isa) {
  for (const auto& row : kIsas) {
    if (isa == row.isa) return row.is_supported();
  }
  return false;
}

const char* IsaName(Isa isa) {
  for (const auto& row : kIsas) {
    if (isa == row.isa) return row.name;
  }
  return "";
}

bool ParseIsa(const std::string& name, Isa* isa) {
  for (const auto& row : kIsas) {
    if (name != row.name) continue;
    *isa = row.isa;
    return true;
  }
  return false;
}

}  // namespace qsparse
