// Safetensors files as tensors.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "base/file.h"
#include "base/safetensors.h"

namespace ckv {

using at::Tensor;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// The dtype that a tensor of that type is stored with, and back. Throws InternalError for a type
// that no file can hold.
SafetensorsDtype FileDtype(at::ScalarType dtype);
at::ScalarType MemoryDtype(SafetensorsDtype dtype);

// A file opened for reading; the header is checked, tensors are read when asked for.
class TensorFile {
 public:
  explicit TensorFile(const std::string& path);

  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  bool Has(const std::string& name) const { return header_.Find(name) != nullptr; }

  // A copy on the CPU in the stored dtype. Throws FormatError if it is not there.
  Tensor Read(const std::string& name) const;
  // HashWords of the stored bytes, going on from `seed`.
  uint64_t Hash(const std::string& name, uint64_t seed) const;

 private:
  std::string path_;
  MappedFile file_;
  SafetensorsHeader header_;
};

// The tensors of one or several files (a sharded checkpoint) under one roof.
class TensorFiles {
 public:
  // Opens `<folder>/model.safetensors`, or the files that `<folder>/model.safetensors.index.json`
  // lists. Throws FormatError for a part that is missing or lacks a tensor of the index.
  static TensorFiles OpenModel(const std::string& folder);
  // The same for `<stem>.safetensors` or the files of `<stem>.safetensors.index.json`.
  static TensorFiles OpenPart(const std::string& folder, const std::string& stem);
  static bool HasPart(const std::string& folder, const std::string& stem);
  explicit TensorFiles(std::vector<std::string> paths);

  std::vector<std::string> Names() const;
  bool Has(const std::string& name) const { return places_.count(name) != 0; }
  // A copy on the CPU in the stored dtype; of a tensor with products in at least fp32.
  Tensor Read(const std::string& name) const;
  // From now on the matrix reads as itself plus scale * left right, in fp64 arithmetic.
  void AddProduct(const std::string& name, Tensor left, Tensor right, double scale);
  // Of names, shapes, types and content, products included; how tensors are spread over files does
  // not count.
  uint64_t Hash() const;
  // The first file's; "" if it has no such key.
  std::string Metadata(const std::string& key) const;
  // The dimensions and the dtype in the header, without reading the tensor.
  const std::vector<int64_t>& Shape(const std::string& name) const;
  SafetensorsDtype Dtype(const std::string& name) const;
  const std::string& PathOf(const std::string& name) const;

 private:
  const TensorFile& FileOf(const std::string& name) const;

  struct Product {
    Tensor left;
    Tensor right;
    double scale;
  };

  std::vector<TensorFile> files_;
  std::map<std::string, size_t> places_;
  std::map<std::string, std::vector<Product>> products_;
};

// Writes a file from tensors of any device, one at a time, and syncs it. Throws IoError; the caller
// removes the unfinished file then.
void WriteTensors(const std::string& path, const NamedTensors& tensors,
                  const std::map<std::string, std::string>& metadata = {});

}  // namespace ckv
