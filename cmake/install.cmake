# What cmake --install puts under the prefix. The program finds PREFIX/share/lockstep from its own place, so that a prefix may be
# moved or packed.
include(GNUInstallDirs)
option(LOCKSTEP_INSTALL_PYTHON "cmake --install copies the packages of requirements.txt from .venv" ON)
set(share share/lockstep) # fixed: workbench/trace/install_paths.c knows it

install(TARGETS lockstep DESTINATION bin)
install(DIRECTORY shaders DESTINATION ${share} FILES_MATCHING PATTERN "*.comp" PATTERN "*.glsl" PATTERN "*.h")
# The modules that the program imports, and the small models that `lockstep faults --check` runs.
install(DIRECTORY golden DESTINATION ${share}
  PATTERN __pycache__ EXCLUDE PATTERN "make_*" EXCLUDE PATTERN "check_*" EXCLUDE PATTERN wrong EXCLUDE
  PATTERN "smollm2-*" EXCLUDE PATTERN imports EXCLUDE)
install(DIRECTORY record DESTINATION ${share} PATTERN __pycache__ EXCLUDE)
install(FILES requirements.txt requirements-golden.txt DESTINATION ${share})
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Man page and completion, written by the program from its own tables.
set(generated ${CMAKE_BINARY_DIR}/generated)
add_custom_command(OUTPUT ${generated}/lockstep.1 ${generated}/lockstep.bash ${generated}/_lockstep
  COMMAND lockstep --man >${generated}/lockstep.1
  COMMAND lockstep --completion bash >${generated}/lockstep.bash
  COMMAND lockstep --completion zsh >${generated}/_lockstep
  DEPENDS lockstep)
add_custom_target(manual ALL DEPENDS ${generated}/lockstep.1)
install(FILES ${generated}/lockstep.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${generated}/lockstep.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME lockstep)
install(FILES ${generated}/_lockstep DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)

if(LOCKSTEP_INSTALL_PYTHON)
  install(CODE "set(source \"${CMAKE_SOURCE_DIR}\")
    set(environment \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${share}/venv\")"
  )
  install(SCRIPT cmake/install_python.cmake)
endif()
