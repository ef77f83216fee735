# The target ckv_version: a header ckv_version.h with CKV_VERSION and CKV_REVISION.
#
# Each build asks git for the revision and rewrites the header only if it changed, so a commit
# recompiles just the files that include it. This file is included when configuring and runs as a
# script (cmake -P) when building.
if(CMAKE_SCRIPT_MODE_FILE)
  cmake_minimum_required(VERSION 3.25...4.2)
  set(CKV_REVISION unknown)
  # A source tree without .git inside somebody else's repository has no revision.
  if(EXISTS ${SOURCE_DIR}/.git)
    execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                    WORKING_DIRECTORY ${SOURCE_DIR}
                    OUTPUT_VARIABLE answer RESULT_VARIABLE failed
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(NOT failed AND answer)
      set(CKV_REVISION ${answer})
    endif()
  endif()
  file(CONFIGURE OUTPUT ${OUTPUT} CONTENT
"// Written by the build.
#pragma once
#define CKV_VERSION \"@CKV_VERSION@\"
#define CKV_REVISION \"@CKV_REVISION@\"
" @ONLY)
  return()
endif()

set(ckv_version_dir ${CMAKE_BINARY_DIR}/version)
set(ckv_version_command
  ${CMAKE_COMMAND} -D SOURCE_DIR=${CMAKE_SOURCE_DIR} -D OUTPUT=${ckv_version_dir}/ckv_version.h
  -D CKV_VERSION=${PROJECT_VERSION} -P ${CMAKE_CURRENT_LIST_FILE})
add_custom_target(ckv_version_header ALL
  COMMAND ${ckv_version_command}
  BYPRODUCTS ${ckv_version_dir}/ckv_version.h
  COMMENT "Looking up the revision" VERBATIM)
add_library(ckv_version INTERFACE)
add_dependencies(ckv_version ckv_version_header)
target_include_directories(ckv_version INTERFACE ${ckv_version_dir})
