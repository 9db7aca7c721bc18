# Finds the TensorRT headers and decides whether the node is built with TensorRT. build.rs looks in the same places
# when cargo is called without CMake.
#
#   vla_trt_find_tensorrt(<out variable>)
#
# Reads VLA_TRT_TENSORRT: AUTO (on when the headers of 8.6 or newer are there), ON (an error without them), OFF.
# Reads TENSORRT_INCLUDE_DIR, from the cache or the environment: looked at before the usual folders.
# Reads TENSORRT_RTX_INCLUDE_DIR from the environment: a folder of TensorRT-RTX's headers switches it on, too.
# Sets <out variable> to TRUE or FALSE and, when TRUE, TENSORRT_INCLUDE_DIR to the folder that was found.

# Major.minor.patch from NvInferVersion.h, or "unknown version".
function(_vla_trt_tensorrt_version folder out)
  set(version "")
  if(EXISTS "${folder}/NvInferVersion.h")
    file(READ "${folder}/NvInferVersion.h" text)
    foreach(part MAJOR MINOR PATCH)
      # TensorRT 10 defines NV_TENSORRT_MAJOR through TRT_MAJOR_ENTERPRISE.
      if(text MATCHES "#define[ \t]+(NV_TENSORRT_${part}|TRT_${part}_ENTERPRISE)[ \t]+([0-9]+)")
        list(APPEND version "${CMAKE_MATCH_2}")
      endif()
    endforeach()
    list(JOIN version "." version)
  endif()
  if(version STREQUAL "")
    set(version "unknown version")
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

function(vla_trt_find_tensorrt out)
  set(${out} FALSE PARENT_SCOPE)
  if(NOT VLA_TRT_TENSORRT MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "VLA_TRT_TENSORRT is '${VLA_TRT_TENSORRT}', expected AUTO, ON or OFF.")
  endif()
  if(VLA_TRT_TENSORRT STREQUAL "OFF")
    message(STATUS "TensorRT: off (VLA_TRT_TENSORRT=OFF)")
    return()
  endif()

  set(folders
    "/usr/include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu" # the Debian packages, on a Jetson too
    /usr/include
    /usr/local/tensorrt/include                        # NVIDIA's containers
    /usr/src/tensorrt/include
  )
  if(TENSORRT_INCLUDE_DIR)
    list(PREPEND folders "${TENSORRT_INCLUDE_DIR}")
  elseif(DEFINED ENV{TENSORRT_INCLUDE_DIR})
    list(PREPEND folders "$ENV{TENSORRT_INCLUDE_DIR}")
  endif()
  # The parser's header is a package of its own (libnvonnxparsers-dev).
  set(reason "")
  foreach(folder IN LISTS folders)
    if(EXISTS "${folder}/NvInfer.h" AND NOT EXISTS "${folder}/NvOnnxParser.h")
      set(reason "NvInfer.h is in ${folder}, but NvOnnxParser.h is not (libnvonnxparsers-dev). ")
    elseif(EXISTS "${folder}/NvInfer.h")
      _vla_trt_tensorrt_version("${folder}" version)
      if(NOT version STREQUAL "unknown version" AND version VERSION_LESS 8.6)
        set(reason "The headers in ${folder} are of TensorRT ${version}, 8.6 (JetPack 6.0) or newer is needed. ")
        continue()
      endif()
      message(STATUS "TensorRT: on, headers of ${version} in ${folder} (VLA_TRT_TENSORRT=${VLA_TRT_TENSORRT})")
      set(${out} TRUE PARENT_SCOPE)
      set(TENSORRT_INCLUDE_DIR "${folder}" PARENT_SCOPE)
      return()
    endif()
  endforeach()

  # TensorRT-RTX alone will do; build.rs reads the same variable.
  if(EXISTS "$ENV{TENSORRT_RTX_INCLUDE_DIR}/NvInfer.h")
    message(STATUS "TensorRT: TensorRT-RTX only, headers in $ENV{TENSORRT_RTX_INCLUDE_DIR} (VLA_TRT_TENSORRT=${VLA_TRT_TENSORRT})")
    set(${out} TRUE PARENT_SCOPE)
    set(TENSORRT_INCLUDE_DIR "" PARENT_SCOPE)
    return()
  endif()

  list(JOIN folders ", " looked_in)
  if(VLA_TRT_TENSORRT STREQUAL "ON")
    message(FATAL_ERROR
      "VLA_TRT_TENSORRT is ON, but NvInfer.h and NvOnnxParser.h were not found together in ${looked_in}. ${reason}\n"
      "Install TensorRT's development packages (libnvinfer-dev, libnvonnxparsers-dev), or say where the headers are with "
      "--cmake-args -DTENSORRT_INCLUDE_DIR=FOLDER, or build without TensorRT: -DVLA_TRT_TENSORRT=OFF.")
  endif()
  message(STATUS "TensorRT: off, NvInfer.h and NvOnnxParser.h are in none of ${looked_in}. ${reason}")
endfunction()
