# Included before project(). A compiler that has the C++ runtime as an archive only would put a second
# runtime into our programs beside the one that SentencePiece and LibTorch share, and those programs
# die before main. Where CC and CXX name such a compiler, the system's is taken if it is whole.
if(NOT CMAKE_CXX_COMPILER AND DEFINED ENV{CXX})
  foreach(ckv_compiler IN ITEMS $ENV{CXX} /usr/bin/g++)
    # Prints the bare name where there is no such file.
    execute_process(COMMAND ${ckv_compiler} -print-file-name=libstdc++.so
                    OUTPUT_VARIABLE ckv_runtime OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(NOT ckv_runtime STREQUAL "libstdc++.so")
      break()
    endif()
    message(STATUS "${ckv_compiler} has no shared libstdc++")
  endforeach()
  if(NOT ckv_compiler STREQUAL "$ENV{CXX}" AND NOT ckv_runtime STREQUAL "libstdc++.so")
    message(STATUS "Using ${ckv_compiler} instead")
    set(CMAKE_CXX_COMPILER ${ckv_compiler})
    set(CMAKE_C_COMPILER /usr/bin/gcc)
    set(CMAKE_CUDA_HOST_COMPILER ${ckv_compiler})
  endif()
endif()
