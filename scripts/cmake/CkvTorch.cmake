# LibTorch from the PyPI wheel, as imported targets of our own.
#
# The wheel's CMake file demands a CUDA toolkit even for a program that only uses the CPU library,
# so it is not used. CKV_TORCH_PYTHON is the interpreter whose torch is taken; scripts/setup.sh
# passes it, else the project's .venv or the python3 on PATH.
set(CKV_TORCH_VERSION 2.11.0)

if(NOT CKV_TORCH_PYTHON)
  if(EXISTS ${CMAKE_SOURCE_DIR}/.venv/bin/python3)
    set(ckv_python ${CMAKE_SOURCE_DIR}/.venv/bin/python3)
  else()
    find_program(ckv_python python3 REQUIRED)
  endif()
  set(CKV_TORCH_PYTHON ${ckv_python} CACHE FILEPATH "Python interpreter that has torch")
endif()

# Asks for the place only: importing torch would take seconds.
execute_process(
  COMMAND ${CKV_TORCH_PYTHON} -c
    "import importlib.util as u, importlib.metadata as m; print(m.version('torch').split('+')[0]); print(list(u.find_spec('torch').submodule_search_locations)[0])"
  OUTPUT_VARIABLE ckv_torch_answer RESULT_VARIABLE ckv_torch_failed
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(ckv_torch_failed)
  message(FATAL_ERROR "${CKV_TORCH_PYTHON} has no torch: run scripts/setup.sh, or set "
                      "-DCKV_TORCH_PYTHON to an interpreter with torch==${CKV_TORCH_VERSION}")
endif()
string(REPLACE "\n" ";" ckv_torch_answer "${ckv_torch_answer}")
list(GET ckv_torch_answer 0 ckv_torch_found)
list(GET ckv_torch_answer 1 CKV_TORCH_DIR)
if(NOT ckv_torch_found VERSION_EQUAL CKV_TORCH_VERSION)
  message(FATAL_ERROR "torch ${ckv_torch_found} at ${CKV_TORCH_DIR}, but ${CKV_TORCH_VERSION} is "
                      "needed: run scripts/setup.sh")
endif()

set(ckv_torch_lib ${CKV_TORCH_DIR}/lib)
# The CUDA libraries that libtorch needs at load time lie in sibling wheels.
file(GLOB ckv_nvidia_libs ${CKV_TORCH_DIR}/../nvidia/*/lib)

add_library(ckv_dep_torch INTERFACE)
target_include_directories(ckv_dep_torch SYSTEM INTERFACE
  ${CKV_TORCH_DIR}/include ${CKV_TORCH_DIR}/include/torch/csrc/api/include)
target_link_libraries(ckv_dep_torch INTERFACE
  ${ckv_torch_lib}/libtorch_cpu.so ${ckv_torch_lib}/libc10.so Threads::Threads)
target_link_directories(ckv_dep_torch INTERFACE ${ckv_torch_lib})
target_link_options(ckv_dep_torch INTERFACE "LINKER:--allow-shlib-undefined"
                                            "LINKER:-rpath,${ckv_torch_lib}")
foreach(folder IN LISTS ckv_nvidia_libs)
  get_filename_component(folder ${folder} ABSOLUTE)
  target_link_options(ckv_dep_torch INTERFACE "LINKER:-rpath,${folder}")
endforeach()

if(CKV_HAVE_CUDA)
  # Nothing of ours names a symbol of libtorch_cuda, whose kernels register themselves on loading.
  target_link_options(ckv_dep_torch INTERFACE
    "LINKER:--push-state,--no-as-needed,${ckv_torch_lib}/libtorch_cuda.so,${ckv_torch_lib}/libc10_cuda.so,--pop-state")
  target_include_directories(ckv_dep_torch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(ckv_dep_torch INTERFACE CUDA::cudart)
  target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_CUDA=1)
endif()

# Collectives: LibTorch holds both back ends; what may be missing are Gloo's headers (libgloo-dev).
find_path(GLOO_INCLUDE_DIR gloo/algorithm.h)
set(CKV_HAVE_GLOO OFF)
if(GLOO_INCLUDE_DIR AND EXISTS ${CKV_TORCH_DIR}/include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp)
  set(CKV_HAVE_GLOO ON)
  target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_GLOO=1)
endif()
set(CKV_HAVE_NCCL OFF)
if(CKV_HAVE_CUDA)
  file(GLOB ckv_nccl_include ${CKV_TORCH_DIR}/../nvidia/nccl/include)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${ckv_nccl_include} ${CUDAToolkit_INCLUDE_DIRS})
  if(NCCL_INCLUDE_DIR)
    set(CKV_HAVE_NCCL ON)
    target_include_directories(ckv_dep_torch SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_NCCL=1)
  endif()
endif()
