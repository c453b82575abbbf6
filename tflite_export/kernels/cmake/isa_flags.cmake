# Instructions that a source file may use beside those of the baseline. Each ISA has
# files of its own: nothing else may use its instructions, because the choice is made
# at run time. An ISA without flags belongs to the baseline.
set(QSPARSE_X86_ISAS avx2 avx512 avxvnni avx512vnni avx512vbmi)
set(QSPARSE_ISA_FLAGS_avx2 -mavx2)
set(QSPARSE_ISA_FLAGS_avxvnni -mavx2 -mavxvnni)
set(QSPARSE_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq)
set(QSPARSE_ISA_FLAGS_avx512vnni ${QSPARSE_ISA_FLAGS_avx512} -mavx512vnni)
set(QSPARSE_ISA_FLAGS_avx512vbmi ${QSPARSE_ISA_FLAGS_avx512vnni} -mavx512vbmi)

set(QSPARSE_ARM_ISAS neon dotprod i8mm)
set(QSPARSE_ISA_FLAGS_neon "")
set(QSPARSE_ISA_FLAGS_dotprod -mcpu=generic+dotprod)
set(QSPARSE_ISA_FLAGS_i8mm -mcpu=generic+i8mm)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(QSPARSE_ISAS ${QSPARSE_X86_ISAS})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(QSPARSE_ISAS ${QSPARSE_ARM_ISAS})
else()
  set(QSPARSE_ISAS "")
endif()

# qsparse_isa_sources(avx2 add/add_avx2.cc ...): sources of the library for one ISA;
# nothing where the processor is of another kind.
function(qsparse_isa_sources isa)
  if(NOT isa IN_LIST QSPARSE_X86_ISAS AND NOT isa IN_LIST QSPARSE_ARM_ISAS)
    message(FATAL_ERROR "no flags are known for the ISA ${isa}")
  endif()
  if(NOT isa IN_LIST QSPARSE_ISAS)
    return()
  endif()
  target_sources(qsparse_delegate PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES
    COMPILE_OPTIONS "${QSPARSE_ISA_FLAGS_${isa}}")
endfunction()
