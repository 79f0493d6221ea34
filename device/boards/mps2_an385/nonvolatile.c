// The module `nonvolatile`: the storage of the DPE Client, which has `load` and `save`, and its credential.
//
// It is the PSRAM, which QEMU backs with a file: each store instruction is kept, whether the board is reset or its power
// is cut, as in the FRAM or the battery-backed memory of a real board. What is written anew is written elsewhere, and
// then a single byte tells that it is there. What damage does to a record the client finds out by its MAC.

#include "board.h"
#include "py/mperrno.h"
#include "py/runtime.h"

// The memory begins with the bytes that tell; then there are slots, which begin with a length of two bytes.
#define WHICH_RECORD (0) // 1 or 2, or 0 for none
#define HAS_CREDENTIAL (1)
#define SLOT_SIZE (512)
#define CREDENTIAL_SLOT (3)

static mp_obj_t read(size_t slot) {
    const uint8_t *data = BOARD_MEMORY + slot * SLOT_SIZE;
    return mp_obj_new_bytes(data + 2, MIN(data[0] << 8 | data[1], SLOT_SIZE - 2));
}

static void write(size_t slot, mp_obj_t data_in, size_t teller, uint8_t tells) {
    mp_buffer_info_t data;
    mp_get_buffer_raise(data_in, &data, MP_BUFFER_READ);
    if (data.len > SLOT_SIZE - 2) {
        mp_raise_OSError(MP_ENOSPC);
    }
    uint8_t *to = BOARD_MEMORY + slot * SLOT_SIZE;
    to[0] = data.len >> 8;
    to[1] = data.len;
    memcpy(to + 2, data.buf, data.len);
    __sync_synchronize();
    BOARD_MEMORY[teller] = tells;
}

static mp_obj_t nonvolatile_load(void) {
    uint8_t slot = BOARD_MEMORY[WHICH_RECORD];
    return slot == 1 || slot == 2 ? read(slot) : mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(nonvolatile_load_obj, nonvolatile_load);

static mp_obj_t nonvolatile_save(mp_obj_t record) {
    uint8_t spare = BOARD_MEMORY[WHICH_RECORD] == 1 ? 2 : 1;
    write(spare, record, WHICH_RECORD, spare);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(nonvolatile_save_obj, nonvolatile_save);

static mp_obj_t nonvolatile_load_credential(void) {
    return BOARD_MEMORY[HAS_CREDENTIAL] ? read(CREDENTIAL_SLOT) : mp_const_empty_bytes;
}
static MP_DEFINE_CONST_FUN_OBJ_0(nonvolatile_load_credential_obj, nonvolatile_load_credential);

static mp_obj_t nonvolatile_save_credential(mp_obj_t credential) {
    BOARD_MEMORY[HAS_CREDENTIAL] = 0;
    __sync_synchronize();
    write(CREDENTIAL_SLOT, credential, HAS_CREDENTIAL, 1);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(nonvolatile_save_credential_obj, nonvolatile_save_credential);

static const mp_rom_map_elem_t nonvolatile_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_nonvolatile) },
    { MP_ROM_QSTR(MP_QSTR_load), MP_ROM_PTR(&nonvolatile_load_obj) },
    { MP_ROM_QSTR(MP_QSTR_save), MP_ROM_PTR(&nonvolatile_save_obj) },
    { MP_ROM_QSTR(MP_QSTR_load_credential), MP_ROM_PTR(&nonvolatile_load_credential_obj) },
    { MP_ROM_QSTR(MP_QSTR_save_credential), MP_ROM_PTR(&nonvolatile_save_credential_obj) },
};
static MP_DEFINE_CONST_DICT(nonvolatile_globals, nonvolatile_globals_table);

const mp_obj_module_t nonvolatile_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&nonvolatile_globals,
};
MP_REGISTER_MODULE(MP_QSTR_nonvolatile, nonvolatile_module);
