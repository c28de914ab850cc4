// `import hnswlib from "#hnswlib"`: the default import is the addon in Node, in Jest and in esbuild's bundles. Named
// imports are not: Node cannot see the names that an addon exports.
import * as hnswlib from "hnswlib-node";
export = hnswlib;
