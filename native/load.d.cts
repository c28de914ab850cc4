import * as hnswlib from "hnswlib-node";
export = hnswlib;
