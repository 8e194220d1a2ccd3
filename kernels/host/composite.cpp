// CPU wrapper of include/composite.h.
#include "host.h"

namespace matter {

void bind_composite(nb::module_&) {}

}  // namespace matter
