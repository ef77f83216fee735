// A file of its own, because it is compiled again whenever the revision changes.
#include "ckv_version.h"  // written by the build
#include "record/run_dir.h"

namespace ckv {

std::string CodeRevision() { return CKV_REVISION; }

}  // namespace ckv
