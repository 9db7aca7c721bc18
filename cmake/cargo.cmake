# Builds the cargo package beside CMakeLists.txt against message packages, our own among them, and installs its
# executables to lib/<project>.
#
#   vla_trt_cargo(INTERFACES <package>... [OPTIONAL <package>...] [TENSORRT] [CUDA] [TOOL])
#
# Call it after rosidl_generate_interfaces(). INTERFACES: message packages found with find_package, closed under
# nesting (r2r resolves nothing). OPTIONAL: those of them that the node can do without; it is compiled with the cfg
# `has_<package>`. TENSORRT, CUDA: with the Cargo feature `tensorrt`, `cuda`. TOOL: the command line tool vla-trt too.
#
# Reads the cache variables VLA_TRT_CARGO_PROFILE and VLA_TRT_CARGO_TARGET_DIR.
#
# r2r is told where messages are by environment variables only (r2r_common, get_wanted_messages), so messages that
# are generated but not yet installed can be used from the build tree. A folder in the build tree, cargo_prefix,
# has the shape of an install prefix as far as r2r looks: lib/ and share/<project>/{msg,action}/*.idl.

# A colon separated path list without our own install prefix, which holds an earlier build of ourselves.
# A merged install prefix stays: the packages that we depend on are in it too.
function(_vla_trt_without_own_prefix value out)
  string(REPLACE ":" ";" folders "${value}")
  file(GLOB others RELATIVE "${CMAKE_INSTALL_PREFIX}/share/ament_index/resource_index/packages"
    "${CMAKE_INSTALL_PREFIX}/share/ament_index/resource_index/packages/*")
  list(REMOVE_ITEM others "${PROJECT_NAME}")
  if(NOT others)
    list(REMOVE_ITEM folders "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_PREFIX}/")
  endif()
  list(REMOVE_ITEM folders "")
  list(REMOVE_DUPLICATES folders)
  list(JOIN folders ":" folders)
  set(${out} "${folders}" PARENT_SCOPE)
endfunction()

# share/<project>/{msg,action} in the staged prefix: exactly the .idl files that belong to today's .msg and .action files.
function(_vla_trt_stage_messages prefix out_digest)
  file(REMOVE_RECURSE "${prefix}")
  set(digests "")
  foreach(kind msg action)
    file(GLOB definitions CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${kind}/*.${kind}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${definitions})
    file(MAKE_DIRECTORY "${prefix}/share/${PROJECT_NAME}/${kind}")
    foreach(definition IN LISTS definitions)
      get_filename_component(name "${definition}" NAME_WE)
      set(idl "${CMAKE_CURRENT_BINARY_DIR}/rosidl_adapter/${PROJECT_NAME}/${kind}/${name}.idl")
      file(CREATE_LINK "${idl}" "${prefix}/share/${PROJECT_NAME}/${kind}/${name}.idl" SYMBOLIC)
      file(SHA256 "${definition}" digest)
      string(APPEND digests "${kind}/${name}=${digest}\n")
    endforeach()
  endforeach()
  file(CREATE_LINK "${CMAKE_CURRENT_BINARY_DIR}" "${prefix}/lib" SYMBOLIC)
  string(SHA256 digest "${digests}")
  set(${out_digest} "${digest}" PARENT_SCOPE)
endfunction()

function(vla_trt_cargo)
  cmake_parse_arguments(ARG "TENSORRT;CUDA;TOOL" "" "INTERFACES;OPTIONAL" ${ARGN})

  find_program(VLA_TRT_CARGO_COMMAND cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
  if(NOT VLA_TRT_CARGO_COMMAND)
    message(FATAL_ERROR "cargo was not found in PATH nor in ~/.cargo/bin. Install Rust with rustup, then build again.")
  endif()
  if("$ENV{ROS_DISTRO}" STREQUAL "" OR "$ENV{AMENT_PREFIX_PATH}" STREQUAL "")
    message(FATAL_ERROR "ROS_DISTRO or AMENT_PREFIX_PATH is not set. Source a ROS 2 (setup.bash), then build again.")
  endif()
  set(VLA_TRT_CARGO_ROS_DISTRO "$ENV{ROS_DISTRO}")

  set(prefix "${CMAKE_CURRENT_BINARY_DIR}/cargo_prefix")
  _vla_trt_stage_messages("${prefix}" digest)
  set(idl_packages "")
  foreach(package IN LISTS ARG_INTERFACES)
    list(APPEND idl_packages "${${package}_DIR}")
  endforeach()
  list(APPEND idl_packages "${prefix}/share/${PROJECT_NAME}/cmake-${digest}")
  list(JOIN idl_packages ":" VLA_TRT_CARGO_IDL_PACKAGES)
  set(VLA_TRT_CARGO_INCLUDE_DIRS
    "${CMAKE_CURRENT_BINARY_DIR}/rosidl_generator_c:${CMAKE_CURRENT_BINARY_DIR}/rosidl_typesupport_introspection_c")

  _vla_trt_without_own_prefix("$ENV{AMENT_PREFIX_PATH}" underlays)
  _vla_trt_without_own_prefix("$ENV{CMAKE_PREFIX_PATH}" VLA_TRT_CARGO_CMAKE_PREFIX_PATH)
  set(VLA_TRT_CARGO_AMENT_PREFIX_PATH "${prefix}:${underlays}")
  set(VLA_TRT_CARGO_LD_LIBRARY_PATH "${CMAKE_CURRENT_BINARY_DIR}")
  set(VLA_TRT_CARGO_RPATH "")
  string(REPLACE ":" ";" underlays "${underlays}")
  foreach(underlay IN LISTS underlays)
    string(APPEND VLA_TRT_CARGO_LD_LIBRARY_PATH ":${underlay}/lib")
    string(APPEND VLA_TRT_CARGO_RPATH ":${underlay}/lib")
  endforeach()
  if(NOT "$ENV{LD_LIBRARY_PATH}" STREQUAL "")
    string(APPEND VLA_TRT_CARGO_LD_LIBRARY_PATH ":$ENV{LD_LIBRARY_PATH}")
  endif()

  set(executables vla_trt_node)
  if(ARG_TOOL)
    list(APPEND executables vla-trt)
  endif()
  list(TRANSFORM executables PREPEND "-p " OUTPUT_VARIABLE VLA_TRT_CARGO_PACKAGES)
  list(JOIN VLA_TRT_CARGO_PACKAGES " " VLA_TRT_CARGO_PACKAGES)
  set(features "")
  set(VLA_TRT_CARGO_TENSORRT_ENV "")
  if(ARG_TENSORRT)
    list(APPEND features tensorrt)
    set(VLA_TRT_CARGO_TENSORRT_ENV "export TENSORRT_INCLUDE_DIR=\"${TENSORRT_INCLUDE_DIR}\" TENSORRT_RTX_INCLUDE_DIR=\"$ENV{TENSORRT_RTX_INCLUDE_DIR}\"")
  endif()

  if(ARG_CUDA)
    list(APPEND features cuda)
  endif()
  set(VLA_TRT_CARGO_FEATURES "")
  if(features)
    list(JOIN features "," features)
    set(VLA_TRT_CARGO_FEATURES "--features ${features}")
  endif()

  list(JOIN ARG_OPTIONAL " " VLA_TRT_CARGO_OPTIONAL_INTERFACES)

  set(VLA_TRT_CARGO_ENV "${CMAKE_CURRENT_BINARY_DIR}/cargo_env.sh")
  set(VLA_TRT_CARGO_LOG "${CMAKE_CURRENT_BINARY_DIR}/cargo.log")
  configure_file("${CMAKE_CURRENT_SOURCE_DIR}/cmake/cargo_env.sh.in" "${VLA_TRT_CARGO_ENV}" @ONLY)
  configure_file("${CMAKE_CURRENT_SOURCE_DIR}/cmake/cargo_build.sh.in" "${CMAKE_CURRENT_BINARY_DIR}/cargo_build.sh" @ONLY)

  # Cargo decides what is out of date; it is asked at every build.
  add_custom_target(${PROJECT_NAME}_cargo ALL
    COMMAND sh "${CMAKE_CURRENT_BINARY_DIR}/cargo_build.sh"
    COMMENT "cargo: ${executables} ${VLA_TRT_CARGO_FEATURES}"
    USES_TERMINAL VERBATIM)
  add_dependencies(${PROJECT_NAME}_cargo ${PROJECT_NAME})

  # Cargo puts the profile dev into debug/, every other into a folder of its name.
  string(REGEX REPLACE "^(dev|test)$" "debug" folder "${VLA_TRT_CARGO_PROFILE}")
  list(TRANSFORM executables PREPEND "${VLA_TRT_CARGO_TARGET_DIR}/${folder}/" OUTPUT_VARIABLE programs)
  install(PROGRAMS ${programs} DESTINATION lib/${PROJECT_NAME})
endfunction()
