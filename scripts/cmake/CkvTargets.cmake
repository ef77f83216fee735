# ckv_library and ckv_test: one library a folder of src/, one test executable a folder of tests/.

add_library(ckv_flags INTERFACE)
target_include_directories(ckv_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(ckv_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Woverloaded-virtual>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${CKV_WERROR}>>:-Werror>)
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC takes a joined .cc file for a header, where a member of an anonymous type would be a fault.
  target_compile_options(ckv_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
if(CKV_SANITIZE)
  target_compile_options(ckv_flags INTERFACE -fsanitize=${CKV_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all)
  target_link_options(ckv_flags INTERFACE -fsanitize=${CKV_SANITIZE})
endif()

# ckv_library(<folder> SRCS ... [CUDA_SRCS ...] [DEPS folders...] [LIBS dependencies...])
# DEPS are folders of src/, LIBS names after ckv_dep_ (torch, yaml, json, ...).
function(ckv_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;CUDA_SRCS;DEPS;LIBS" ${ARGN})
  add_library(ckv_${name} STATIC ${ARG_SRCS})
  if(CKV_HAVE_CUDA AND ARG_CUDA_SRCS)
    target_sources(ckv_${name} PRIVATE ${ARG_CUDA_SRCS})
  endif()
  target_link_libraries(ckv_${name} PUBLIC ckv_flags)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(ckv_${name} PUBLIC ckv_${dep})
  endforeach()
  foreach(lib IN LISTS ARG_LIBS)
    if(TARGET ckv_dep_${lib})
      target_link_libraries(ckv_${name} PUBLIC ckv_dep_${lib})
    endif()
  endforeach()
endfunction()

# ckv_test(<folder> SRCS ... [DEPS folders...] [LIBS ...] [LABELS fast])
# Builds <folder>_test and registers it with ctest under its labels.
function(ckv_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;LIBS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    message(FATAL_ERROR "ckv_test(${name}) needs LABELS: a test without one is never run")
  endif()
  add_executable(${name}_test ${ARG_SRCS} ${CMAKE_SOURCE_DIR}/tests/test_main.cc)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name}_test PRIVATE ckv_base ckv_dep_gmock)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(${name}_test PRIVATE ckv_${dep})
  endforeach()
  foreach(lib IN LISTS ARG_LIBS)
    if(TARGET ckv_dep_${lib})
      target_link_libraries(${name}_test PRIVATE ckv_dep_${lib})
    endif()
  endforeach()
  target_compile_definitions(${name}_test PRIVATE CKV_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                                  CKV_BINARY_DIR="${CMAKE_BINARY_DIR}")
  # Compiling is most of the time that tests take.
  target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
  add_test(NAME ${name}_test COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name}_test PROPERTIES LABELS "${ARG_LABELS}")
endfunction()
