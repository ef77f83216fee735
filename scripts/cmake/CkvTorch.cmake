# LibTorch from the PyPI wheel, as the imported target ckv_dep_torch.
#
# The wheel's own CMake file demands a CUDA toolkit even for a program that only uses the CPU
# library, so it is not used. CKV_TORCH_PYTHON is the interpreter whose torch is taken; the scripts
# pass the one that scripts/setup.sh chose, else it is the project's .venv or the python3 on PATH.
set(CKV_TORCH_VERSION 2.11.0)

if(NOT CKV_TORCH_PYTHON)
  if(EXISTS ${CMAKE_SOURCE_DIR}/.venv/bin/python3)
    set(ckv_python ${CMAKE_SOURCE_DIR}/.venv/bin/python3)
  else()
    find_program(ckv_python python3 REQUIRED NO_CACHE)
  endif()
  set(CKV_TORCH_PYTHON ${ckv_python} CACHE FILEPATH "Python interpreter that has torch" FORCE)
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
if(NOT EXISTS ${ckv_torch_lib}/libtorch_cpu.so)
  message(FATAL_ERROR "${ckv_torch_lib} lacks libtorch_cpu.so: the installation of torch is not "
                      "whole; scripts/setup.sh repairs it")
endif()
get_filename_component(ckv_site_packages ${CKV_TORCH_DIR}/.. ABSOLUTE)
# The wheel's libraries need libraries of sibling wheels, also those for CUDA on a CPU-only host.
# They find them by run paths of their own; the linker is told not to look for their symbols.
file(GLOB ckv_nvidia_libs ${ckv_site_packages}/nvidia/*/lib)

add_library(ckv_dep_torch INTERFACE)
target_include_directories(ckv_dep_torch SYSTEM INTERFACE
  ${CKV_TORCH_DIR}/include ${CKV_TORCH_DIR}/include/torch/csrc/api/include)
# The wheel is built with the C++11 ABI and with c10d; its headers read the same macros.
target_compile_definitions(ckv_dep_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1 USE_DISTRIBUTED)
target_link_libraries(ckv_dep_torch INTERFACE
  ${ckv_torch_lib}/libtorch_cpu.so ${ckv_torch_lib}/libc10.so Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(ckv_dep_torch INTERFACE "LINKER:--allow-shlib-undefined")
# LibTorch first, so that an executable which also uses the CUDA runtime loads the wheel's.
foreach(folder IN ITEMS ${ckv_torch_lib} LISTS ckv_nvidia_libs)
  target_link_options(ckv_dep_torch INTERFACE "LINKER:-rpath,${folder}"
                                              "LINKER:-rpath-link,${folder}")
endforeach()

if(CKV_HAVE_CUDA)
  # Nothing of ours need name a symbol of libtorch_cuda, whose kernels register themselves when it is
  # loaded; Ubuntu's linker would drop it.
  target_link_options(ckv_dep_torch INTERFACE
    "LINKER:--push-state,--no-as-needed,${ckv_torch_lib}/libtorch_cuda.so,${ckv_torch_lib}/libc10_cuda.so,--pop-state")
  target_include_directories(ckv_dep_torch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(ckv_dep_torch INTERFACE CUDA::cudart)
  target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_CUDA=1 USE_CUDA)
endif()

# Collectives: LibTorch holds both back ends; what may be missing are the headers of Gloo
# (libgloo-dev) and of NCCL (a sibling wheel, or the toolkit).
find_path(GLOO_INCLUDE_DIR gloo/algorithm.h)
if(GLOO_INCLUDE_DIR AND EXISTS ${CKV_TORCH_DIR}/include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp)
  set(CKV_HAVE_GLOO ON)
  target_include_directories(ckv_dep_torch SYSTEM INTERFACE ${GLOO_INCLUDE_DIR})
  target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_GLOO=1 USE_C10D_GLOO)
endif()
if(CKV_HAVE_CUDA)
  find_path(NCCL_INCLUDE_DIR nccl.h
            HINTS ${ckv_site_packages}/nvidia/nccl/include ${CUDAToolkit_INCLUDE_DIRS})
  if(NCCL_INCLUDE_DIR)
    set(CKV_HAVE_NCCL ON)
    target_include_directories(ckv_dep_torch SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_compile_definitions(ckv_dep_torch INTERFACE CKV_HAVE_NCCL=1 USE_C10D_NCCL)
  endif()
endif()
