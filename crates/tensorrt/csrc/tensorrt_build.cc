// Builder, network and run of the C ABI in tensorrt_shim.h.
#include <cstring>

#include "tensorrt_build.h"

using vla_trt::fail;
using vla_trt::guarded;
using vla_trt::Sink;

namespace {

// The parser needs the main library, which is open already; both come from one folder.
vla_trt_status open_parser(vla_trt_library const& library, void*& out) {
  std::string why;
  std::string const name = VLA_TRT_PARSER_LIBRARY;
  out = vla_trt::open_library(library.folder, name + "." + std::to_string(NV_TENSORRT_MAJOR), why);
  if (out == nullptr) {
    out = vla_trt::open_library(library.folder, name, why);
  }
  return out != nullptr ? VLA_TRT_OK : fail(VLA_TRT_LIBRARY, "%s", why.c_str());
}

template <typename Function>
vla_trt_status find(void* library, char const* name, Function& out) {
  out = reinterpret_cast<Function>(vla_trt::symbol_of(library, name));
  return out != nullptr ? VLA_TRT_OK : fail(VLA_TRT_LIBRARY, "the library has no symbol %s", name);
}

vla_trt_status create(vla_trt_build& build, vla_trt_library const& library,
                      bool strongly_typed) {
  void* parser_library = nullptr;
  void* (*create_builder)(void*, int32_t) = nullptr;
  void* (*create_parser)(void*, void*, int) = nullptr;
  vla_trt_status status = open_parser(library, parser_library);
  if (status == VLA_TRT_OK) status = find(library.infer, "createInferBuilder_INTERNAL", create_builder);
  if (status == VLA_TRT_OK) status = find(parser_library, "createNvOnnxParser_INTERNAL", create_parser);
  if (status != VLA_TRT_OK) {
    return status;
  }
  nvinfer1::NetworkDefinitionCreationFlags flags = 0;
  if (!vla_trt::network_flags(strongly_typed, flags)) {
    return fail(VLA_TRT_UNSUPPORTED, "strongly typed networks need TensorRT 10");
  }
  auto* const as_logger = static_cast<nvinfer1::ILogger*>(&vla_trt::Dispatcher::instance());
  build.builder.reset(static_cast<nvinfer1::IBuilder*>(create_builder(as_logger, NV_TENSORRT_VERSION)));
  if (build.builder == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no builder");
  }
  build.network.reset(build.builder->createNetworkV2(flags));
  build.config.reset(build.builder->createBuilderConfig());
  if (build.network == nullptr || build.config == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no network or no builder configuration");
  }
  build.parser.reset(static_cast<nvonnxparser::IParser*>(
      create_parser(build.network.get(), as_logger, NV_ONNX_PARSER_VERSION)));
  if (build.parser == nullptr) {
    return fail(VLA_TRT_REFUSED, "TensorRT created no ONNX parser");
  }
  return VLA_TRT_OK;
}

vla_trt_status build_new(vla_trt_library const* library, int32_t strongly_typed,
                                            vla_trt_build** out) noexcept {
  return guarded("creating a builder", [&]() -> vla_trt_status {
    auto build = std::make_unique<vla_trt_build>();
    vla_trt_status const status = create(*build, *library, strongly_typed != 0);
    if (status == VLA_TRT_OK) {
      *out = build.release();
    }
    return status;
  });
}

void build_free(vla_trt_build* build) noexcept { delete build; }

// --- network ----------------------------------------------------------------------------------------------------

vla_trt_status build_parse(vla_trt_build* build, char const* onnx) noexcept {
  return guarded("parsing the ONNX file", [&]() -> vla_trt_status {
    auto const severity = static_cast<int>(nvinfer1::ILogger::Severity::kWARNING);
    if (!build->parser->parseFromFile(onnx, severity)) {
      return fail(VLA_TRT_PARSE, "the ONNX parser refuses %s", onnx);
    }
    return VLA_TRT_OK;
  });
}

int32_t maps_weights(void) noexcept { return VLA_TRT_HAS_INITIALIZERS; }

vla_trt_status build_parse_mapped(vla_trt_build* build, char const* onnx, void const* model,
                                                     uint64_t bytes, vla_trt_weight const* weights,
                                                     uint64_t count) noexcept {
  return guarded("parsing the ONNX file", [&]() -> vla_trt_status {
#if VLA_TRT_HAS_INITIALIZERS
    auto& parser = *build->parser;
    if (!parser.loadModelProto(model, static_cast<std::size_t>(bytes), onnx)) {
      return fail(VLA_TRT_PARSE, "the ONNX parser refuses %s", onnx);
    }
    for (uint64_t i = 0; i < count; ++i) {
      if (!parser.loadInitializer(weights[i].name, weights[i].data, static_cast<std::size_t>(weights[i].bytes))) {
        return fail(VLA_TRT_PARSE, "the ONNX parser refuses weight '%s' of %s", weights[i].name, onnx);
      }
    }
    return parser.parseModelProto() ? VLA_TRT_OK : fail(VLA_TRT_PARSE, "the ONNX parser refuses %s", onnx);
#else
    static_cast<void>(build);
    static_cast<void>(model);
    static_cast<void>(bytes);
    static_cast<void>(weights);
    static_cast<void>(count);
    return fail(VLA_TRT_UNSUPPORTED, "this TensorRT reads the weights of %s itself", onnx);
#endif
  });
}

vla_trt_status build_parser_error(vla_trt_build const* build, int32_t index,
                                                     vla_trt_parser_error* out) noexcept {
  return guarded("reading a parser error", [&]() -> vla_trt_status {
    auto const* const error =
        index >= 0 && index < build->parser->getNbErrors() ? build->parser->getError(index) : nullptr;
    if (error == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the parser has no error %d", index);
    }
    *out = {};
    out->code = static_cast<int32_t>(error->code());
    out->node = error->node();
    out->line = error->line();
    out->text = error->desc();
    out->file = error->file();
    out->function = error->func();
    vla_trt::node_names(*error, out->node_name, out->node_operator);
    return VLA_TRT_OK;
  });
}

vla_trt_status build_network(vla_trt_build const* build, vla_trt_network_info* out) noexcept {
  return guarded("describing the network", [&]() -> vla_trt_status {
    *out = {build->network->getNbInputs(), build->network->getNbOutputs(), build->network->getNbLayers(),
            build->parser->getNbErrors()};
    return VLA_TRT_OK;
  });
}

vla_trt_status build_tensor(vla_trt_build const* build, int32_t is_input, int32_t index,
                                               vla_trt_tensor* out) noexcept {
  return guarded("describing a network tensor", [&]() -> vla_trt_status {
    auto const& network = *build->network;
    int32_t const count = is_input != 0 ? network.getNbInputs() : network.getNbOutputs();
    if (index < 0 || index >= count) {
      return fail(VLA_TRT_ARGUMENT, "the network has no such tensor: %d of %d", index, count);
    }
    auto const* const tensor = is_input != 0 ? network.getInput(index) : network.getOutput(index);
    *out = {};
    out->name = tensor->getName();
    out->is_input = is_input != 0;
    out->dtype = static_cast<int32_t>(tensor->getType());
    out->is_shape = tensor->isShapeTensor();
    out->is_linear = 1;
    if (!vla_trt::dims_out(tensor->getDimensions(), out->rank, out->dims)) {
      return fail(VLA_TRT_REFUSED, "tensor '%s' has rank %d", out->name, out->rank);
    }
    return VLA_TRT_OK;
  });
}

nvinfer1::ILayer* layer_at(vla_trt_build const& build, int32_t index) {
  return index >= 0 && index < build.network->getNbLayers() ? build.network->getLayer(index) : nullptr;
}

vla_trt_status build_layer(vla_trt_build const* build, int32_t index, char const** name, int32_t* type) noexcept {
  return guarded("describing a layer", [&]() -> vla_trt_status {
    auto const* const layer = layer_at(*build, index);
    if (layer == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the network has no layer %d", index);
    }
    *name = layer->getName();
    *type = static_cast<int32_t>(layer->getType());
    return VLA_TRT_OK;
  });
}

vla_trt_status build_layer_precision(vla_trt_build* build, int32_t index, int32_t dtype,
                                                        int32_t* applied) noexcept {
  return guarded("setting a layer's precision", [&]() -> vla_trt_status {
    *applied = 0;
#if VLA_TRT_HAS_CALIBRATOR
    auto* const layer = layer_at(*build, index);
    if (layer == nullptr) {
      return fail(VLA_TRT_ARGUMENT, "the network has no layer %d", index);
    }
    auto const wanted = static_cast<nvinfer1::DataType>(dtype);
    auto const is_float = [](nvinfer1::ITensor const& tensor) {
      return !tensor.isShapeTensor() &&
             (tensor.getType() == nvinfer1::DataType::kFLOAT || tensor.getType() == nvinfer1::DataType::kHALF);
    };
    // Layers on integers and shapes, and those whose work is to change a type, have no precision to choose: TensorRT
    // refuses a network that asks for one.
    if (layer->getType() == nvinfer1::LayerType::kCAST || layer->getType() == nvinfer1::LayerType::kQUANTIZE ||
        layer->getType() == nvinfer1::LayerType::kDEQUANTIZE || layer->getType() == nvinfer1::LayerType::kCONSTANT) {
      return VLA_TRT_OK;
    }
    int32_t const outputs = layer->getNbOutputs();
    for (int32_t i = 0; i < outputs; ++i) {
      auto const* const output = layer->getOutput(i);
      if (output == nullptr || !is_float(*output)) {
        return VLA_TRT_OK;
      }
    }
    for (int32_t i = 0; i < outputs; ++i) {
      layer->setOutputType(i, wanted);
    }
    layer->setPrecision(wanted);
    *applied = outputs > 0;
    return VLA_TRT_OK;
#else
    static_cast<void>(build);
    static_cast<void>(index);
    static_cast<void>(dtype);
    return fail(VLA_TRT_UNSUPPORTED, "TensorRT 11 takes precision from the network's own types");
#endif
  });
}

vla_trt_status build_mark_output(vla_trt_build* build, char const* tensor) noexcept {
  return guarded("marking an output", [&]() -> vla_trt_status {
    auto& network = *build->network;
    for (int32_t i = 0; i < network.getNbLayers(); ++i) {
      auto* const layer = network.getLayer(i);
      for (int32_t j = 0; j < layer->getNbOutputs(); ++j) {
        auto* const output = layer->getOutput(j);
        if (output != nullptr && output->getName() != nullptr && std::strcmp(output->getName(), tensor) == 0) {
          if (!output->isNetworkOutput()) {
            network.markOutput(*output);
          }
          return VLA_TRT_OK;
        }
      }
    }
    return fail(VLA_TRT_ARGUMENT, "no layer of the network makes a tensor '%s'", tensor);
  });
}

// --- run --------------------------------------------------------------------------------------------------------

enum class Outcome { kDONE, kREFUSED, kNOT_TAKEN };

Outcome run(vla_trt_build& build, Sink sink) {
#if VLA_TRT_HAS_WRITER
  vla_trt::Writer writer(sink);
  bool const built = build.builder->buildSerializedNetworkToStream(*build.network, *build.config, writer);
  return writer.failed() ? Outcome::kNOT_TAKEN : built ? Outcome::kDONE : Outcome::kREFUSED;
#else
  std::unique_ptr<nvinfer1::IHostMemory> const plan(
      build.builder->buildSerializedNetwork(*build.network, *build.config));
  if (plan == nullptr) {
    return Outcome::kREFUSED;
  }
  return sink.all(plan->data(), plan->size()) ? Outcome::kDONE : Outcome::kNOT_TAKEN;
#endif
}

vla_trt_status build_run(vla_trt_build* build, vla_trt_sink_fn sink, void* user) noexcept {
  return guarded("building the engine", [&]() -> vla_trt_status {
    Outcome const outcome = run(*build, Sink{sink, user});
#if VLA_TRT_HAS_PROGRESS
    if (build->progress != nullptr && build->progress->cancelled()) {
      return fail(VLA_TRT_CANCELLED, "the build was cancelled");
    }
#endif
#if VLA_TRT_HAS_CALIBRATOR
    if (build->calibrator != nullptr && build->calibrator->failed()) {
      return fail(VLA_TRT_CALLBACK, "a calibration batch failed");
    }
#endif
    switch (outcome) {
      case Outcome::kDONE: return VLA_TRT_OK;
      case Outcome::kNOT_TAKEN: return fail(VLA_TRT_CALLBACK, "the engine could not be written");
      default: return fail(VLA_TRT_REFUSED, "TensorRT built no engine");
    }
  });
}

}  // namespace

void vla_trt::add_build(vla_trt_api& api) noexcept {
  api.build_new = build_new;
  api.build_free = build_free;
  api.build_parse = build_parse;
  api.maps_weights = maps_weights;
  api.build_parse_mapped = build_parse_mapped;
  api.build_parser_error = build_parser_error;
  api.build_network = build_network;
  api.build_tensor = build_tensor;
  api.build_layer = build_layer;
  api.build_layer_precision = build_layer_precision;
  api.build_mark_output = build_mark_output;
  api.build_run = build_run;
}
