// What is built of Mbed TLS: AES-128, with tables that take 2 kB of flash and no RAM.
#define MBEDTLS_AES_C
#define MBEDTLS_AES_ONLY_128_BIT_KEY_LENGTH
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AES_FEWER_TABLES
#define MBEDTLS_CIPHER_MODE_CBC // which MicroPython's cryptolib does not do without
