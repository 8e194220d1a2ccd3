// CPU wrapper of include/temporal.h.
#include "host.h"

namespace matter {

void bind_temporal(nb::module_&) {}

}  // namespace matter
