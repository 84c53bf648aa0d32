/* Memory of a model, and its names. */
#include "base/utf8.h"
#include "base/xxh.h"
#include "onnx/inner.h"

#define BLOCK_BYTES (64u << 10)
#define ALIGN 16u

void *onnx_take(onnx_memory *memory, uint64_t count, uint64_t size)
{
    uint64_t bytes;
    if (!base_multiply(count, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes > memory->left) {
        /* A large piece has a block of its own, and what was begun stays in use. */
        bool own = bytes > BLOCK_BYTES / 4;
        onnx_block *block = base_alloc(1, ALIGN + (own ? bytes : BLOCK_BYTES));
        if (!block) return NULL;
        block->next = memory->blocks;
        memory->blocks = block;
        if (own) return (uint8_t *)block + ALIGN;
        memory->free = (uint8_t *)block + ALIGN;
        memory->left = BLOCK_BYTES;
    }
    void *taken = memory->free;
    memory->free += bytes;
    memory->left -= bytes;
    return taken;
}

void onnx_release(onnx_memory *memory)
{
    while (memory->blocks) {
        onnx_block *next = memory->blocks->next;
        base_free(memory->blocks);
        memory->blocks = next;
    }
    *memory = (onnx_memory){0};
}

void *onnx_append(onnx_list *list, size_t size)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        void *grown = base_grow(list->items, capacity, size);
        if (!grown) return NULL;
        list->items = grown;
        list->capacity = capacity;
    }
    void *item = (uint8_t *)list->items + list->count++ * size;
    memset(item, 0, size);
    return item;
}

/* The slot that holds the name, or the free one where it would go. */
static size_t find_slot(const onnx_names *names, const char *text, size_t bytes)
{
    size_t mask = names->slots - 1, slot = (size_t)XXH3_64bits(text, bytes) & mask;
    for (; names->table[slot]; slot = (slot + 1) & mask) {
        const onnx_text *name = &names->list[names->table[slot] - 1];
        if (name->bytes == bytes && memcmp(name->text, text, bytes) == 0) break;
    }
    return slot;
}

static bool grow_table(onnx_names *names)
{
    size_t slots = names->slots ? 2 * names->slots : 64;
    uint32_t *table = base_calloc(slots, sizeof *table);
    if (!table) return false;
    base_free(names->table);
    names->table = table;
    names->slots = slots;
    for (size_t i = 0; i < names->count; i++)
        table[find_slot(names, names->list[i].text, names->list[i].bytes)] = (uint32_t)i + 1;
    return true;
}

onnx_name onnx_look_up(const onnx_names *names, const char *text, size_t bytes)
{
    size_t slot = names->slots ? find_slot(names, text, bytes) : 0;
    return names->slots && names->table[slot] ? names->table[slot] - 1 : ONNX_NONE;
}

onnx_name onnx_intern(onnx_names *names, onnx_memory *memory, const char *text, size_t bytes)
{
    if (2 * names->count >= names->slots && !grow_table(names)) return ONNX_NONE;
    size_t slot = find_slot(names, text, bytes);
    if (names->table[slot]) return names->table[slot] - 1;
    if (names->count >= UINT32_MAX / 4) return ONNX_NONE;
    char *copy = onnx_take(memory, bytes + 1, 1);
    onnx_list list = {.items = names->list, .count = names->count, .capacity = names->capacity};
    onnx_text *name = copy ? onnx_append(&list, sizeof *name) : NULL;
    if (!name) return ONNX_NONE;
    names->list = list.items;
    names->capacity = list.capacity;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    *name = (onnx_text){copy, bytes};
    names->table[slot] = (uint32_t)++names->count;
    return (onnx_name)names->count - 1;
}

bool onnx_is_utf8(const onnx_text *text) { return base_is_utf8(text->text, text->bytes); }

bool onnx_building_failed(onnx_building *b)
{
    if (!b->w.status) b->w.status = base_no_memory(b->error, sizeof(onnx_node));
    return false;
}

bool onnx_expect(onnx_building *b, const wire_field *f, wire_type type, const char *what)
{
    return f->type == type ||
           wire_fail(&b->w, f->begin, "%s has wire type %u, not %u", what, (unsigned)f->type, (unsigned)type);
}

bool onnx_read_name(onnx_building *b, const wire_field *f, onnx_name *name)
{
    char small[512], *text = small;
    uint64_t after = b->w.at;
    if (f->bytes > sizeof small && !(text = base_alloc(f->bytes, 1))) return onnx_building_failed(b);
    bool good = wire_copy(&b->w, f->offset, text, f->bytes);
    if (good) {
        *name = onnx_intern(&b->names, &b->memory, text, (size_t)f->bytes);
        if (*name == ONNX_NONE) good = onnx_building_failed(b);
    }
    if (text != small) base_free(text);
    b->w.at = after;
    return good;
}
