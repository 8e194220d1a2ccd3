// CPU wrapper of include/foreground.h.
#include "host.h"

namespace matter {

void bind_foreground(nb::module_&) {}

}  // namespace matter
