# Included before project(). A compiler that has the C++ runtime as an archive only would put a second
# runtime into our programs beside the one that SentencePiece and LibTorch share, and those programs
# die before main. Where CXX names such a compiler, the system's is taken if it is whole.
function(ckv_has_shared_runtime compiler result)
  # Prints the bare name where there is no such file.
  execute_process(COMMAND ${compiler} -print-file-name=libstdc++.so
                  OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(path MATCHES "/")
    set(${result} ON PARENT_SCOPE)
  else()
    set(${result} OFF PARENT_SCOPE)
  endif()
endfunction()

if(NOT CMAKE_CXX_COMPILER AND DEFINED ENV{CXX})
  ckv_has_shared_runtime($ENV{CXX} ckv_wanted_whole)
  ckv_has_shared_runtime(/usr/bin/g++ ckv_system_whole)
  if(ckv_system_whole AND NOT ckv_wanted_whole)
    message(STATUS "$ENV{CXX} has no shared libstdc++; using /usr/bin/g++ instead")
    set(CMAKE_C_COMPILER /usr/bin/gcc)
    set(CMAKE_CXX_COMPILER /usr/bin/g++)
    # By the environment, which the search for a CUDA compiler reads too: with the other compiler as
    # nvcc's, its archive would be linked after all.
    set(ENV{CC} /usr/bin/gcc)
    set(ENV{CXX} /usr/bin/g++)
    set(ENV{CUDAHOSTCXX} /usr/bin/g++)
    set(CMAKE_CUDA_HOST_COMPILER /usr/bin/g++)
  endif()
endif()
