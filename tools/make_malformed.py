#!/usr/bin/env python3
"""Makes fixtures/good and fixtures/bad: tiny safetensors files, each of which keeps or breaks one rule of the format.

    tools/make_malformed.py [FIXTURES]

Plain Python, no packages. In the header of a bad file the mark @ stands where the error is to be reported; it is taken
out before the file is written, so that the expected offset comes from here and from nowhere else. index.json beside the
files says for a bad one what is wrong with it, where, in which tensor, and words that the message must contain; for a
good one how many tensors and metadata entries it has."""
import json
import os
import struct
import sys

A = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'  # a tensor that fills four bytes


def tensor(shape="[4]", offsets="[0,4]", dtype='"U8"', name='"a"', more=""):
    return '%s:{"dtype":%s,"shape":%s,"data_offsets":%s%s}' % (name, dtype, shape, offsets, more)


def header(*entries):
    return "{" + ",".join(entries) + "}"


good, bad = {}, {}


def accept(name, text, tensors, data=4, metadata=0, why="", **more):
    assert name not in good
    good[name] = (text, data, {"tensors": tensors, "metadata": metadata, "why": why, **more})


def refuse(name, text, says, data=4, tensor_name=None, why=""):
    """text: the header with the mark, or bytes of a whole file (then the error is at its beginning)."""
    assert name not in bad
    bad[name] = (text, data, {"says": says, "tensor": tensor_name, "why": why})


# ---------------------------------------------------------------- what must be accepted

accept("one", header(A), 1, why="the plainest file")
accept("empty", "{}", 0, 0, why="no tensor at all")
accept("padded", header(A) + "     ", 1, why="spaces up to a multiple of 8")
accept("trailing_space_of_all_kinds", header(A) + " \t\r\n", 1, why="JSON's four kinds of white space may follow")
accept("spread_out", "{ \n\t\"a\" :\r\n { \"dtype\" : \"U8\" , \"shape\" : [ 4 ] , \"data_offsets\" : [ 0 , 4 ] } }", 1,
       why="white space between all tokens")
accept("metadata", header('"__metadata__":{"k":"v","":""}', A), 1, metadata=2, why="an empty key is a key")
accept("metadata_empty", header('"__metadata__":{}', A), 1, why="no entries")
accept("metadata_null", header('"__metadata__":null', A), 1, why="null counts as absent")
accept("metadata_last", header(A, '"__metadata__":{"k":"v"}'), 1, metadata=1, why="in any place")
accept("metadata_escaped_key", header(r'"__met\u0061data__":{"k":"v"}', A), 1, metadata=1,
       why="keys are compared decoded")
accept("scalar", header(tensor("[]", "[0,4]", '"F32"')), 1, why="rank 0 holds one element")
accept("no_elements", header(tensor("[0]", "[0,0]")), 1, 0, why="a dimension of zero")
accept("empty_between", header(tensor(name='"b"', shape="[0]", offsets="[4,4]"), tensor(),
                               tensor(name='"c"', offsets="[4,8]")), 3, 8, why="an empty tensor where two others meet",
       order=["a", "b", "c"])
accept("unsorted", header(tensor(name='"second"', offsets="[4,8]"), tensor(name='"first"')), 2, 8,
       why="entries in another order than their data", order=["first", "second"])
accept("rank_20", header(tensor("[" + ",".join(["1"] * 19 + ["4"]) + "]")), 1, why="any rank")
accept("extra_fields", header(tensor(more=',"x":[1,{"y":[null,true,false,-1.5e-3,"\\u00e9"]},{},[]],"x":1e308')), 1,
       why="unknown fields hold any JSON, even twice")
accept("fields_in_other_order", '{"a":{"data_offsets":[0,4],"shape":[4],"dtype":"U8"}}', 1, why="any order of fields")
accept("escaped_field", r'{"a":{"\u0064type":"\u00558","sh\u0061pe":[4],"data\u005foffsets":[0,4]}}', 1,
       why="field names and dtypes may be escaped")
accept("name_empty", header(tensor(name='""')), 1, why="the empty name")
accept("name_escapes", header(tensor(name=r'"\"\\\/\b\f\n\r\t\u0000\u001F\u00e9\ud83d\ude00\uFFFF"')), 1,
       why="every escape that JSON has", order=["\"\\/\b\f\n\r\t\0\x1f\u00e9\U0001f600\uffff"])
accept("name_escaped_bounds", header(tensor(
    name=r'"\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\ud800\udc00\udbff\udfff"')), 1,
       why="the first and last character of every length, escaped",
       order=["\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"])
accept("name_utf8", header(tensor(name='"\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff\x7f"')), 1,
       why="the first and last character of every length in UTF-8")
accept("name_markup", header(tensor(name='"<script>alert(1)</script>\\u001b[31m"')), 1,
       why="a name is text, whatever it says")
accept("depth_127", header(tensor(more=',"x":' + "[" * 125 + "]" * 125)), 1, why="the deepest nesting")
accept("largest_number", header(tensor("[0,18446744073709551615]", "[0,0]")), 1, 0, why="2^64 - 1 is a dimension")
accept("overflow_after_zero", header(tensor("[0,9223372036854775808,4]", "[0,0]")), 1, 0,
       why="multiplied in order, nothing overflows once a zero came")
accept("extra_number_largest", header(tensor(more=',"x":1.7976931348623157e308')), 1, why="the largest number that the reference reads")
accept("extra_number_tiny", header(tensor(more=',"x":0.0e99999999999,"y":-1e-99999999999,"z":0.00001e312')), 1,
       why="zero with any exponent, underflow, and small digits with a large exponent")
for name, bits in [("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8),
                   ("F8_E4M3", 8), ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16),
                   ("F16", 16), ("BF16", 16), ("I32", 32), ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64),
                   ("I64", 64), ("U64", 64)]:
    accept("dtype_" + name, header(tensor("[4]", "[0,%d]" % (bits // 2), '"%s"' % name)), 1, bits // 2,
           why="four elements of %d bits" % bits)

# ---------------------------------------------------------------- the bytes before the header, other formats

refuse("no_bytes", b"", "too short", why="no length")
refuse("seven_bytes", bytes(7), "too short", why="no whole length")
refuse("length_over_limit", struct.pack("<Q", 100_000_001) + b"{}", "100000001 bytes, the format allows 100000000")
refuse("length_largest", b"\xff" * 8 + b"{}", "18446744073709551615")
refuse("length_past_end", struct.pack("<Q", 3) + b"{}", "should take 3 bytes, the file ends after 2")
refuse("zip", b"PK\x03\x04\x14\x00\x00\x08archive/data.pkl", "zip archive", why="what torch.save writes")
refuse("pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle")
refuse("gguf", b"GGUF\x03\x00\x00\x00" + bytes(16), "GGUF")
refuse("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(16), "HDF5")
refuse("npy", b"\x93NUMPY\x01\x00" + bytes(16), "NumPy")
refuse("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03", "gzip")
refuse("zstd", b"\x28\xb5\x2f\xfd\x04\x58\x11\x00\x00", "zstd")
refuse("header_empty", "@", "must begin with '{'", 0, why="a length of zero")

# ---------------------------------------------------------------- JSON

refuse("leading_space", "@ " + header(A), "must begin with '{', found byte 0x20",
       why="the reference lets this pass, the format does not")
refuse("leading_delete", "@\x7f" + header(A), "must begin with '{', found byte 0x7f")
refuse("leading_tilde", "@~" + header(A), "must begin with '{', found '~'")
refuse("leading_bom", "@\ufeff" + header(A), "must begin with '{'")
refuse("array", "@[]", "must begin with '{'", 0)
refuse("null", "@null", "must begin with '{'", 0)
refuse("text_after", header(A) + " @x", "only white space may follow")
refuse("nul_after", header(A) + "@\0", "only white space may follow")
refuse("form_feed_after", header(A) + "@\f", "only white space may follow", why="white space to C, not to JSON")
refuse("second_object", header(A) + "@{}", "only white space may follow")
refuse("not_closed", "{" + A + "@", "expected ',' or '}' in the header, found the end")
refuse("entry_not_closed", '{"a":{"dtype":"U8"@', "in the entry of a tensor, found the end", tensor_name="a")
refuse("string_not_closed", '{"a@', "ends inside a string")
refuse("ends_after_backslash", '{"a@\\', "ends inside a string")
refuse("comma_last", "{" + A + "@,}", "a comma after the last item of the header")
refuse("comma_first", "{@," + A + "}", "a key in double quotes")
refuse("comma_only", "{@,}", "a key in double quotes", 0)
refuse("comma_twice", "{" + A + ",@,}", "a key in double quotes")
refuse("comma_missing", "{" + A + '@"b":{}}', "expected ',' or '}'")
refuse("comma_in_shape", header(tensor("[4@,]")), "a comma after the last item of shape", tensor_name="a")
refuse("colon_missing", '{"a"@{}}', "expected ':'")
refuse("single_quotes", "{@'a':{}}", "a key in double quotes")
refuse("comment", "{@/* no */}", "a key in double quotes")
refuse("key_number", "{@1:{}}", "a key in double quotes")
refuse("key_missing", "{@", "a key in double quotes", 0)
refuse("escape_unknown", r'{"@\x41":{}}', "no such escape")
refuse("escape_nul", '{"@\\\0":{}}', "no such escape")
refuse("escape_short", r'{"@\u00e":{}}', "four hexadecimal digits")
refuse("escape_cut", '{"@\\u00', "four hexadecimal digits")
refuse("surrogate_high_alone", r'{"@\ud800":{}}', "high surrogate")
refuse("surrogate_high_twice", r'{"@\ud800\ud800":{}}', "high surrogate")
refuse("surrogate_high_then_text", r'{"@\ud800abcdef":{}}', "high surrogate")
refuse("surrogate_high_then_letter", r'{"@\ud800\n1234":{}}', "high surrogate")
refuse("surrogate_high_cut", '{"@\\ud800\\udc', "high surrogate")
refuse("surrogate_low_alone", r'{"@\udc00":{}}', "low surrogate")
refuse("control_raw", '{"x@\n":{}}', "control character (byte 0x0a)")
refuse("nul_raw", '{"x@\0":{}}', "control character (byte 0x00)")
for name, raw in [("overlong_2", b"\xc0\xaf"), ("overlong_2_last", b"\xc1\xbf"), ("overlong_3", b"\xe0\x9f\xbf"),
                  ("overlong_4", b"\xf0\x8f\xbf\xbf"), ("surrogate", b"\xed\xa0\x80"),
                  ("too_large", b"\xf4\x90\x80\x80"),
                  ("lead_f5", b"\xf5\x80\x80\x80"), ("lead_ff", b"\xff"), ("stray", b"\x80"), ("second_bad", b"\xc3("),
                  ("third_bad", b"\xe2\x82("), ("fourth_bad", b"\xf0\x9f\x98(")]:
    refuse("utf8_" + name, b'{"@' + raw + b'":{}}', "not UTF-8: byte 0x%02x" % raw[0])
refuse("utf8_cut", b'{"@\xf0\x9f\x98', "not UTF-8")
refuse("utf8_bad_in_value", b'{"__metadata__":{"k":"@\xff"}}', "not UTF-8")
refuse("utf8_bad_in_extra", b'{"a":{"x":"@\xfe"}}', "not UTF-8", tensor_name="a")

# ---------------------------------------------------------------- extra fields: JSON all the same

for name, value, says in [
        ("word", "@tru", "expected a value"), ("word_long", "true@e", "expected ','"),
        ("nan", "@NaN", "expected a value"),
        ("infinity", "@Infinity", "expected a value"), ("minus", "-@", "expected a digit"),
        ("plus", "@+1", "expected a value"),
        ("point", "1.@", "expected a digit"), ("point_first", "@.5", "expected a value"),
        ("exponent", "1e@", "expected a digit"),
        ("exponent_sign", "1e+@", "expected a digit"), ("zero_first", "@-01", "leading zero"),
        ("too_large", "@1e309", "range of a double"), ("too_large_exponent", "@-1e99999999999", "range of a double"),
        ("too_large_digits", "@1" + "0" * 309, "range of a double"),
        ("too_large_slightly", "@1.797693134862315808e308", "range of a double"), ("missing", "@", "expected a value"),
        ("array_open", "[1@}", "expected ',' or ']' in an array"),
        ("object_open", '{"k":1@]', "expected ',' or '}' in an object"),
        ("array_comma", "[1@,]", "a comma after the last item of an array"),
        ("object_key", "{@1:2}", "key in double quotes")]:
    refuse("extra_" + name, header(tensor(more=',"x":' + value)), says, tensor_name="a")
refuse("extra_too_deep", header(tensor(more=',"x":' + "[" * 125 + "@[" + "]" * 126)), "nested deeper", tensor_name="a")
refuse("extra_too_deep_mixed", header(tensor(more=',"x":' + '{"y":[' * 62 + '{"y":@[')), "nested deeper",
       tensor_name="a")

# ---------------------------------------------------------------- names and metadata

refuse("tensor_twice", header(tensor("[0]", "[0,0]"), "@" + A), "a second tensor of this name", tensor_name="a",
       why="the reference lets this pass, the format does not")
refuse("tensor_twice_escaped", header(tensor("[0]", "[0,0]"), tensor(name=r'@"\u0061"')), "a second tensor",
       tensor_name="a")
refuse("metadata_twice", header('"__metadata__":{}', A, '@"__metadata__":{}'), "__metadata__ is given twice")
refuse("metadata_twice_null", header('"__metadata__":null', '@"__metadata__":null', A), "__metadata__ is given twice")
refuse("metadata_key_twice", header('"__metadata__":{"k":"1",@"k":"2"}', A), 'the key "k" twice',
       why="the reference lets this pass, the format does not")
refuse("metadata_string", header('"__metadata__":@"x"', A), "must be an object of strings")
refuse("metadata_array", header('"__metadata__":@[]', A), "must be an object of strings")
refuse("metadata_nul", header('"__metadata__":@nul', A), "expected a value")
refuse("metadata_number", header('"__metadata__":{"k":@1}', A), "must be strings, found '1'")
refuse("metadata_nested", header('"__metadata__":{"k":@{}}', A), "must be strings, found '{'")
refuse("metadata_value_null", header('"__metadata__":{"k":@null}', A), "must be strings, found 'n'")

# ---------------------------------------------------------------- the entry of a tensor

refuse("entry_array", '{"a":@["U8",[4],[0,4]]}', "must be an object, found '['", tensor_name="a",
       why="the reference lets this pass by a quirk of its JSON library")
refuse("entry_null", '{"a":@null}', "must be an object, found 'n'", tensor_name="a")
refuse("entry_string", '{"a":@"U8"}', "must be an object", tensor_name="a")
refuse("dtype_missing", '{"a":{"shape":[4],"data_offsets":[0,4]@}}', "dtype is missing", tensor_name="a")
refuse("shape_missing", '{"a":{"dtype":"U8","data_offsets":[0,4]@}}', "shape is missing", tensor_name="a")
refuse("offsets_missing", '{"a":{"dtype":"U8","shape":[4]@}}', "data_offsets is missing", tensor_name="a")
refuse("dtype_twice", header(tensor(more=',@"dtype":"U8"')), "dtype is given twice", tensor_name="a")
refuse("shape_twice", header(tensor(more=',@"shape":[4]')), "shape is given twice", tensor_name="a")
refuse("offsets_twice", header(tensor(more=',@"data_offsets":[0,4]')), "data_offsets is given twice", tensor_name="a")
refuse("dtype_unknown", header(tensor(dtype='@"F31"')), 'unknown dtype "F31"', tensor_name="a")
refuse("dtype_lower", header(tensor(dtype='@"u8"')), 'unknown dtype "u8"', tensor_name="a")
refuse("dtype_longer", header(tensor(dtype='@"U8 "')), "unknown dtype", tensor_name="a")
refuse("dtype_with_nul", header(tensor(dtype=r'@"U8\u0000"')), "unknown dtype", tensor_name="a")
refuse("dtype_empty", header(tensor(dtype='@""')), "unknown dtype", tensor_name="a")
refuse("dtype_terminal", header(tensor(dtype='@"\\n\\u001b[31m\u00e9"')), 'unknown dtype "??[31m??"', tensor_name="a",
       why="what a message quotes stays on its line")
refuse("dtype_number", header(tensor(dtype="@8")), "dtype must be a string", tensor_name="a")
refuse("dtype_object", header(tensor(dtype='@{"U8":null}')), "dtype must be a string", tensor_name="a",
       why="the reference lets this pass by a quirk of its JSON library")
refuse("shape_number", header(tensor("@4")), "shape must be an array", tensor_name="a")
refuse("shape_null", header(tensor("@null")), "shape must be an array", tensor_name="a")
for name, number, says in [
        ("negative", "-4", "not negative"), ("minus_zero", "-0", "not negative"), ("point", "4.0", "without point"),
        ("exponent", "4e0", "without point or exponent"), ("exponent_upper", "4E0", "without point or exponent"),
        ("leading_zero", "04", "leading zero"), ("two_zeros", "00", "leading zero"),
        ("string", '"4"', "whole number, found '\"'"),
        ("null_inside", "null", "whole number, found 'n'"), ("plus", "+4", "whole number, found '+'"),
        ("letter", "x4", "whole number"),
        ("too_large", "18446744073709551616", "larger than 64 bits"),
        ("far_too_large", "9" * 40, "larger than 64 bits")]:
    refuse("shape_" + name, header(tensor("[@%s]" % number)), says, tensor_name="a")
    refuse("offset_" + name, header(tensor(offsets="[0,@%s]" % number)), says, tensor_name="a")
refuse("shape_hex", header(tensor("[0@x4]")), "expected ',' or ']'", tensor_name="a")
refuse("shape_letters", header(tensor("[4@a]")), "expected ',' or ']'", tensor_name="a")
refuse("shape_nested", header(tensor("[@[4]]")), "a dimension must be a whole number", tensor_name="a")
refuse("shape_product", header(tensor("@[4294967296,4294967296]")), "multiply to more than 64 bits", tensor_name="a")
refuse("shape_product_then_zero", header(tensor("@[9223372036854775808,4,0]", "[0,0]")),
       "multiply to more than 64 bits",
       0, tensor_name="a", why="the dimensions are multiplied in order")
refuse("shape_bits", header(tensor("@[1152921504606846976]", "[0,8]", '"I16"')), "more than 64 bits count", 8,
       tensor_name="a")
refuse("shape_bits_u8", header(tensor("@[2305843009213693952]", "[0,8]")), "more than 64 bits count", 8,
       tensor_name="a")
refuse("f4_odd", header(tensor("@[3]", "[0,2]", '"F4"')), "3 elements of 4 bits do not fill whole bytes", 2,
       tensor_name="a")
refuse("f6_odd", header(tensor("@[2]", "[0,2]", '"F6_E2M3"')), "2 elements of 6 bits do not fill", 2, tensor_name="a")
refuse("offsets_number", header(tensor(offsets="@4")), "data_offsets must be an array", tensor_name="a")
refuse("offsets_none", header(tensor(offsets="@[]")), "two numbers, found 0", tensor_name="a")
refuse("offsets_one", header(tensor(offsets="@[4]")), "two numbers, found 1", tensor_name="a")
refuse("offsets_three", header(tensor(offsets="@[0,4,4]")), "two numbers, found 3", tensor_name="a")
refuse("offsets_backwards", header(tensor(offsets="@[4,0]")), "backwards, from 4 to 0", tensor_name="a")
refuse("offsets_past_end", header(tensor(offsets="@[0,5]", shape="[5]")), "end at 5, past the data section (4 bytes)",
       tensor_name="a")
refuse("offsets_largest", header(tensor(offsets="@[0,18446744073709551615]")), "past the data section", tensor_name="a")
refuse("offsets_too_wide", header(tensor("[3]", "@[0,4]")), "span 4 bytes, dtype and shape make 3", tensor_name="a")
refuse("offsets_too_narrow", header(tensor("[4]", "@[0,4]", '"F16"')), "span 4 bytes, dtype and shape make 8",
       tensor_name="a")
refuse("offsets_of_empty", header(tensor("[0]", "@[0,4]")), "span 4 bytes, dtype and shape make 0", tensor_name="a")

# ---------------------------------------------------------------- tensors together

refuse("hole_first", header(tensor("[3]", "@[1,4]")), "a hole in the data: begins at 1, the data before it ends at 0",
       tensor_name="a")
refuse("hole_between", header(A, tensor(name='"b"', shape="[3]", offsets="@[5,8]")), "a hole in the data: begins at 5",
       8, tensor_name="b")
refuse("hole_before_empty", header(A, tensor(name='"b"', shape="[0]", offsets="@[6,6]")),
       "a hole in the data: begins at 6", 8,
       tensor_name="b")
refuse("overlap", header(A, tensor(name='"b"', offsets="@[3,7]")), "overlapping data: begins at 3", 7, tensor_name="b")
refuse("same_place", header(A, tensor(name='"b"', offsets="@[0,4]")), "overlapping data: begins at 0", tensor_name="b")
refuse("empty_inside", header(A, tensor(name='"b"', shape="[0]", offsets="@[2,2]")), "overlapping data: begins at 2",
       tensor_name="b")
refuse("data_after", header(A) + "DATA", "end after 4 bytes of data, the file after 5", 5)
refuse("data_without_tensors", "{}DATA", "end after 0 bytes of data, the file after 1", 1)


def build(text, data):
    """The bytes of a file, and the offset of the mark in them."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8")
    if isinstance(text, bytes) and not text.startswith(b"{"):
        return raw, 0  # a whole file
    at = None
    if raw.endswith(b"DATA"):
        raw = raw[:-4]
        at = 8 + len(raw) + data - 1
    elif b"@" in raw:
        assert raw.count(b"@") == 1
        at = 8 + raw.index(b"@")
        raw = raw.replace(b"@", b"")
    return struct.pack("<Q", len(raw)) + raw + bytes(range(1, data + 1)), at


def write(folder, cases, is_bad):
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        if old.endswith(".safetensors") or old == "index.json":
            os.remove(os.path.join(folder, old))
    index = {}
    for name, (text, data, facts) in sorted(cases.items()):
        raw, at = build(text, data)
        assert len(raw) < 4096 and (at is not None) == is_bad, name
        with open(os.path.join(folder, name + ".safetensors"), "wb") as f:
            f.write(raw)
        facts = {key: value for key, value in facts.items() if value not in (None, "")}
        index[name + ".safetensors"] = {"offset": at, **facts} if is_bad else facts
    with open(os.path.join(folder, "index.json"), "w") as f:
        json.dump(index, f, indent=1, ensure_ascii=True)
        f.write("\n")
    return len(index)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "fixtures")
    print("%d good" % write(os.path.join(root, "good"), good, False))
    print("%d bad" % write(os.path.join(root, "bad"), bad, True))
