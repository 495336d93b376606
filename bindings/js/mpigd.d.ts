/** What `mpigd export MODEL OUTPUT.json` writes: see mpigd/exchange/model.schema.json. */
export interface Exported {
  format: "mpigd-model-1";
  loss: string;
  link: "identity" | "log" | "logit" | "probit" | "complementary log-log" | "sign" | "multinomial logit";
  feature_names: string[];
  classes: number[];
  threshold?: number | null;
  coef: number[] | number[][];
  intercept: number | number[];
  [key: string]: unknown;
}

/** A row: numbers in the order of `features`, or by their names. */
export type Row = ArrayLike<number> | Record<string, number>;

export class Model {
  /** Throws a TypeError for what is not a model. */
  constructor(exported: Exported);
  readonly loss: string;
  readonly link: Exported["link"];
  readonly features: string[];
  readonly classes: number[];
  readonly threshold: number | null;
  /** Whether there is one output: then answers are numbers. */
  readonly single: boolean;
  readonly hasProbabilities: boolean;
  /** Linear predictors. A RangeError names a row that does not fit, or holds what is not finite. */
  eta(rows: Row[]): number[] | number[][];
  /** Labels of classes, or expected y. */
  predict(rows: Row[]): number[] | number[][];
  /** Probabilities of classes, in the order of `classes`. Throws a TypeError for a model that has none. */
  predictProba(rows: Row[]): number[][];
}

/** 1 - erf(x). */
export function erfc(x: number): number;
