# Every shaders/*.comp becomes SPIR-V at build time, and both the SPIR-V and the GLSL (for run-time compilation)
# are embedded. The result is SHADER_SOURCES: one C file that defines the tables of engine/program/embedded_shaders.h.
file(GLOB SHADER_FILES CONFIGURE_DEPENDS shaders/*.comp)
file(GLOB SHADER_INCLUDES CONFIGURE_DEPENDS shaders/*.glsl shaders/*.h)
set(SHADER_SPIRV)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated) # Ninja makes folders of outputs, make does not
foreach(shader ${SHADER_FILES})
  get_filename_component(name ${shader} NAME_WE)
  set(spirv ${CMAKE_BINARY_DIR}/generated/${name}.spv)
  add_custom_command(OUTPUT ${spirv}
    COMMAND ${GLSLANG_VALIDATOR} --quiet -V --target-env vulkan1.2 -I${CMAKE_SOURCE_DIR}/shaders
            -o ${spirv} ${shader}
    DEPENDS ${shader} ${SHADER_INCLUDES} VERBATIM)
  list(APPEND SHADER_SPIRV ${spirv})
endforeach()
set(SHADER_SOURCES ${CMAKE_BINARY_DIR}/generated/shaders.c)
add_custom_command(OUTPUT ${SHADER_SOURCES}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${SHADER_SOURCES} "-DSPIRV=${SHADER_SPIRV}" "-DFILES=${SHADER_FILES};${SHADER_INCLUDES}"
          -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${SHADER_SPIRV} ${SHADER_FILES} ${SHADER_INCLUDES} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
