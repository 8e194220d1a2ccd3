// CPU wrapper of include/pooling.h.
#include "host.h"

namespace matter {

void bind_pooling(nb::module_&) {}

}  // namespace matter
