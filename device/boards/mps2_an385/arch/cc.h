// lwIP's defaults suit this compiler. There is no table of characters to link with, and assertions are left out, as in
// every firmware of MicroPython, whose socket module wants a type.
#include <stdint.h>

#define LWIP_NO_CTYPE_H 1
#define LWIP_NOASSERT
#define LWIP_PLATFORM_ASSERT(text)
#define LWIP_PLATFORM_DIAG(text)
typedef uint32_t sys_prot_t;
