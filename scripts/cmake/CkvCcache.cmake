# Compiles through ccache where it is installed.
find_program(CKV_CCACHE ccache)
mark_as_advanced(CKV_CCACHE)
if(CKV_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CKV_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CKV_CCACHE})
endif()
