/* Milliseconds of BEAGLE's log-likelihood of one tree, transition matrices included: the yardstick of models.py.
 *
 * Standard input, numbers in text: states, categories, taxa, patterns, repeats; V, V^-1 (row by row) and eigenvalues;
 * frequencies; rates and weights of the categories; weights of the patterns; state of each pattern for each taxon (the
 * number of states where it is missing); children of the internal nodes; lengths of the edges above nodes 1, 2, ...
 * Standard output: the log-likelihood and the fastest and the median time.
 */
#include <libhmsbeagle/beagle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double *numbers(int count) {
    double *x = malloc(sizeof(double) * count);
    for (int i = 0; i < count; i++)
        if (scanf("%lf", &x[i]) != 1) exit(3);
    return x;
}

static int *integers(int count) {
    int *x = malloc(sizeof(int) * count);
    for (int i = 0; i < count; i++)
        if (scanf("%d", &x[i]) != 1) exit(3);
    return x;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void) {
    int *size = integers(5), states = size[0], categories = size[1], taxa = size[2], patterns = size[3], repeats = size[4];
    int inner = taxa - 2, nodes = 2 * taxa - 2;
    double *vectors = numbers(states * states), *inverse = numbers(states * states), *values = numbers(states);
    double *frequencies = numbers(states), *rates = numbers(categories), *weights = numbers(categories);
    double *pattern_weights = numbers(patterns);
    int *tips = integers(taxa * patterns), *children = integers(2 * inner);
    double *lengths = numbers(nodes - 1);
    BeagleInstanceDetails details;
    long flags = BEAGLE_FLAG_PRECISION_DOUBLE | BEAGLE_FLAG_VECTOR_SSE | BEAGLE_FLAG_SCALING_MANUAL | BEAGLE_FLAG_THREADING_NONE;
    /* The tree hangs from taxon 0: its partials are joined to the top node's along the last edge. */
    int instance = beagleCreateInstance(taxa, inner, taxa, states, patterns, 1, nodes, categories, 0, NULL, 0,
                                        flags, BEAGLE_FLAG_VECTOR_SSE | BEAGLE_FLAG_PRECISION_DOUBLE, &details);
    if (instance < 0) return 4;
    for (int k = 0; k < taxa; k++) beagleSetTipStates(instance, k, tips + k * patterns);
    beagleSetEigenDecomposition(instance, 0, vectors, inverse, values);
    beagleSetStateFrequencies(instance, 0, frequencies);
    beagleSetCategoryRates(instance, rates);
    beagleSetCategoryWeights(instance, 0, weights);
    beagleSetPatternWeights(instance, pattern_weights);
    BeagleOperation *operations = malloc(sizeof(BeagleOperation) * inner);
    for (int k = 0; k < inner; k++) {
        int a = children[2 * k], b = children[2 * k + 1];
        operations[k] = (BeagleOperation){taxa + k, BEAGLE_OP_NONE, BEAGLE_OP_NONE, a, a, b, b};
    }
    int *edges = malloc(sizeof(int) * nodes);
    for (int v = 1; v < nodes; v++) edges[v - 1] = v;
    int top = nodes - 1, root = 0, zero = 0, none = BEAGLE_OP_NONE;
    double value = 0.0, *times = malloc(sizeof(double) * repeats);
    for (int r = 0; r < repeats; r++) {
        double start = seconds();
        beagleUpdateTransitionMatrices(instance, 0, edges, NULL, NULL, lengths, nodes - 1);
        beagleUpdatePartials(instance, operations, inner, BEAGLE_OP_NONE);
        int failed = beagleCalculateEdgeLogLikelihoods(instance, &top, &root, &top, NULL, NULL, &zero, &zero, &none, 1,
                                                       &value, NULL, NULL);
        if (failed) return 5;
        times[r] = seconds() - start;
    }
    qsort(times, repeats, sizeof(double), ascending);
    printf("%.10f %.6f %.6f %s\n", value, 1e3 * times[0], 1e3 * times[repeats / 2], details.implName);
    return 0;
}
