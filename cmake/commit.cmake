# Writes OUTPUT, a header with the commit that SOURCE is at, where it changed. "unknown" outside git; "-dirty": with changes.
cmake_minimum_required(VERSION 3.25) # a script has no policies of its own: CMake 3.31 warns of @commit@ below
set(commit unknown)
find_program(GIT git)
if(GIT)
  # Empty at the top of a repository of our own; a tree that was unpacked inside another repository is not that one's commit.
  execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse --show-prefix OUTPUT_VARIABLE prefix RESULT_VARIABLE outside ERROR_QUIET
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(outside EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --abbrev=12 OUTPUT_VARIABLE described ERROR_QUIET
      OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(described)
      set(commit ${described})
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define LOCKSTEP_COMMIT \"@commit@\"\n" @ONLY)
