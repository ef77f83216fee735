# Run at build time with -DSOURCE_DIR and -DOUT: writes the header that holds the revision of the
# source; touches it only if that changed.
set(revision unknown)
find_program(git git)
if(git AND EXISTS ${SOURCE_DIR}/.git)
  # No optional locks: a build must not get into the way of a commit.
  execute_process(
    COMMAND ${git} --no-optional-locks -C ${SOURCE_DIR} describe --always --dirty --abbrev=12
            --exclude=*
    OUTPUT_VARIABLE answer RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed AND answer)
    set(revision ${answer})
  endif()
endif()
set(text "#define CKV_REVISION \"${revision}\"\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} ${text})
endif()
