# Finds the libraries. Each becomes a target ckv_dep_<name>; optional ones set CKV_HAVE_<NAME>.

function(ckv_dependency name target)
  add_library(ckv_dep_${name} INTERFACE)
  target_link_libraries(ckv_dep_${name} INTERFACE ${target})
  # System includes: their warnings are not ours.
  get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(includes)
    target_include_directories(ckv_dep_${name} SYSTEM INTERFACE ${includes})
  endif()
endfunction()

find_package(Threads REQUIRED)

find_package(nlohmann_json REQUIRED)
ckv_dependency(json nlohmann_json::nlohmann_json)

# Debian 12 names the target yaml-cpp, Ubuntu 24.04 yaml-cpp::yaml-cpp.
find_package(yaml-cpp REQUIRED)
if(TARGET yaml-cpp::yaml-cpp)
  ckv_dependency(yaml yaml-cpp::yaml-cpp)
else()
  ckv_dependency(yaml yaml-cpp)
endif()

find_package(CLI11 REQUIRED)
ckv_dependency(cli CLI11::CLI11)

# SentencePiece has no CMake package.
find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)
add_library(ckv_dep_sentencepiece INTERFACE)
target_include_directories(ckv_dep_sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_INCLUDE_DIR})
target_link_libraries(ckv_dep_sentencepiece INTERFACE ${SENTENCEPIECE_TRAIN_LIBRARY}
                                                      ${SENTENCEPIECE_LIBRARY})

find_path(ZSTD_INCLUDE_DIR zstd.h)
find_library(ZSTD_LIBRARY zstd)
set(CKV_HAVE_ZSTD OFF)
if(ZSTD_INCLUDE_DIR AND ZSTD_LIBRARY)
  set(CKV_HAVE_ZSTD ON)
  add_library(ckv_dep_zstd INTERFACE)
  target_include_directories(ckv_dep_zstd SYSTEM INTERFACE ${ZSTD_INCLUDE_DIR})
  target_link_libraries(ckv_dep_zstd INTERFACE ${ZSTD_LIBRARY})
  target_compile_definitions(ckv_dep_zstd INTERFACE CKV_HAVE_ZSTD=1)
endif()

find_package(ZLIB)
set(CKV_HAVE_ZLIB OFF)
if(ZLIB_FOUND)
  set(CKV_HAVE_ZLIB ON)
  add_library(ckv_dep_zlib INTERFACE)
  target_link_libraries(ckv_dep_zlib INTERFACE ZLIB::ZLIB)
  target_compile_definitions(ckv_dep_zlib INTERFACE CKV_HAVE_ZLIB=1)
endif()

include(CkvFlint)

# CUDA: only the compiler decides; LibTorch's own CMake file is not used, because it stops where no
# toolkit is installed.
set(CKV_HAVE_CUDA OFF)
if(NOT CKV_TORCH_FREE_ONLY AND NOT CKV_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES ${CKV_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_STANDARD 17)
    # Our kernels and LibTorch share one CUDA runtime.
    set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(CKV_HAVE_CUDA ON)
  elseif(CKV_CUDA STREQUAL "ON")
    message(FATAL_ERROR "CKV_CUDA=ON, but no CUDA compiler (nvcc) was found; "
                        "put it on PATH, set CUDACXX, or use CKV_CUDA=AUTO")
  endif()
endif()

set(CKV_HAVE_NCCL OFF)
set(CKV_HAVE_GLOO OFF)
if(NOT CKV_TORCH_FREE_ONLY)
  include(CkvTorch)
endif()

if(CKV_TESTS)
  find_package(GTest REQUIRED)
  ckv_dependency(gmock GTest::gmock)
  target_link_libraries(ckv_dep_gmock INTERFACE GTest::gtest)
endif()
