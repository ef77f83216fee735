# What was found, in a few lines at the end of configuring.
message(STATUS "CrossKV ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}")
message(STATUS "  CUDA kernels ${CKV_HAVE_CUDA}   NCCL ${CKV_HAVE_NCCL}   Gloo ${CKV_HAVE_GLOO}")
message(STATUS "  zstd ${CKV_HAVE_ZSTD}   zlib ${CKV_HAVE_ZLIB}   FLINT ${CKV_HAVE_FLINT}   tests ${CKV_TESTS}   -Werror ${CKV_WERROR}")
if(CKV_TORCH_DIR)
  message(STATUS "  LibTorch ${CKV_TORCH_VERSION} at ${CKV_TORCH_DIR}")
endif()
