/* Finds the k largest of the n values of a row, one after another. Behind (value, place) comes the largest value that is smaller,
 * or equal at a later place. Returns its place; n if there is none (NaN). */
uint next_place(uint row, uint n, bool started, float value, uint place)
{
    uint best = n;
    for (uint i = 0; i < n; i++) {
        float v = x[row * n + i];
        bool left = !started || v < value || (v == value && i > place);
        if (left && !isnan(v) && (best == n || v > x[row * n + best]))
            best = i;
    }
    return best;
}
