# A step of cmake --install: the Python environment. source: the checkout; environment: the folder to make.
set(python ${source}/.venv/bin/python)
set(done 1)
if(EXISTS ${python})
  message(STATUS "Installing: ${environment}")
  execute_process(COMMAND ${python} ${source}/tools/copy_environment.py ${source}/.venv ${environment} ${source}/requirements.txt
    RESULT_VARIABLE done)
endif()
if(NOT done EQUAL 0)
  message(NOTICE "No Python packages are installed: without them lockstep takes token ids, but no text. Make them here with ./demo and "
    "install again, or run: python3 -m venv ${environment} && ${environment}/bin/python3 -m pip install -r ${source}/requirements.txt")
endif()
