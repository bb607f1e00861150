/* Matrices of 16 x 16 that the lanes of a subgroup hold together, in the terms of two extensions: halves on the left side (A)
 * and on the right side (B) of a product, and sums in f32. A matrix in shared memory is given as an array, an index, and a
 * stride: elements of the array from one row (or column) to the next. */
#ifdef COOPERATIVE_KHR

/* glslang 12 does not know this extension, so the SPIR-V instructions are spelled out. It also cannot write a type as the
 * operand of another type. So the width in bits stands where the component's type belongs, and
 * engine/program/matrix_types.c puts the type there. */
const uint BY_SUBGROUP = 3, BY_WORKGROUP = 2; /* Scope */
const uint SIXTEEN = 16; /* this operand must be an id, and a bare number would become a literal */
const uint USE_A = 0, USE_B = 1, USE_SUMS = 2;
const uint ROW_MAJOR = 0, COLUMN_MAJOR = 1;
#define MATRIX(width, use)                                                                                \
    spirv_type(extensions = ["SPV_KHR_cooperative_matrix"], capabilities = [6022, 9], id = 4456, width, \
               BY_SUBGROUP, SIXTEEN, SIXTEEN, use)
#define HALVES_A MATRIX(16, USE_A)
#define HALVES_B MATRIX(16, USE_B)
#define SUMS MATRIX(32, USE_SUMS)

/* Memory operands as ordinary loads and stores have them: NonPrivatePointer with MakePointerVisible or MakePointerAvailable,
 * and the scope. */
#define VISIBLE 0x30
#define AVAILABLE 0x28
#define MEMORY uint how_it_lies, uint stride, spirv_literal uint how, uint whom
spirv_instruction(id = 4457) HALVES_A khr_load_a(spirv_by_reference uvec2 from, MEMORY);
spirv_instruction(id = 4457) HALVES_B khr_load_b(spirv_by_reference uvec2 from, MEMORY);
spirv_instruction(id = 4458) void khr_store(spirv_by_reference float to, SUMS sums, MEMORY);
spirv_instruction(id = 4459) SUMS khr_multiply_add(HALVES_A a, HALVES_B b, SUMS c);
spirv_instruction(id = 80) SUMS khr_all(float value);             /* OpCompositeConstruct */
spirv_instruction(id = 129) SUMS khr_add(SUMS a, SUMS b);         /* OpFAdd */
spirv_instruction(id = 143) SUMS khr_times(SUMS a, float factor); /* OpMatrixTimesScalar */

#define LOAD_ROWS(m, array, at, stride) m = khr_load_a(array[at], ROW_MAJOR, stride, VISIBLE, BY_WORKGROUP)
#define LOAD_COLUMNS(m, array, at, stride) m = khr_load_b(array[at], COLUMN_MAJOR, stride, VISIBLE, BY_WORKGROUP)
#define STORE_ROWS(m, array, at, stride) khr_store(array[at], m, ROW_MAJOR, stride, AVAILABLE, BY_WORKGROUP)
#define MULTIPLY_ADD(a, b, c) khr_multiply_add(a, b, c)
#define ALL_SUMS(value) khr_all(value)
#define ADD(a, b) khr_add(a, b)
#define TIMES(a, factor) khr_times(a, factor)

#else

#define HALVES_A fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define HALVES_B HALVES_A
#define SUMS fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>

#define LOAD_ROWS(m, array, at, stride) coopMatLoadNV(m, array, at, stride, false)
#define LOAD_COLUMNS(m, array, at, stride) coopMatLoadNV(m, array, at, stride, true)
#define STORE_ROWS(m, array, at, stride) coopMatStoreNV(m, array, at, stride, false)
#define MULTIPLY_ADD(a, b, c) coopMatMulAddNV(a, b, c)
#define ALL_SUMS(value) SUMS(value)
#define ADD(a, b) ((a) + (b))
#define TIMES(a, factor) ((a) * (factor))

#endif
