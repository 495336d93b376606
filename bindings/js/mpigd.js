/**
 * Predictions of models that `mpigd export MODEL OUTPUT.json` has written, in browsers and in Node.
 *
 *     const model = new Model(JSON.parse(text));
 *     model.predict([[5.1, 3.5], [4.9, 3.0]]);            // rows in the order of model.features
 *     model.predict([{ length: 5.1, width: 3.5 }]);       // or by the names of columns
 */

const FORMAT = "mpigd-model-1";
const LARGEST_EXPONENT = 690; // as of Python: exp of more is exp of this

const MEANS = {
  identity: (eta) => eta,
  log: (eta) => Math.exp(Math.min(eta, LARGEST_EXPONENT)),
  logit: (eta) => {
    const e = Math.exp(-Math.abs(eta)); // does not overflow
    return (eta >= 0 ? 1 : e) / (1 + e);
  },
  probit: (eta) => 0.5 * erfc(-Math.SQRT1_2 * eta),
  "complementary log-log": (eta) => -Math.expm1(-Math.exp(Math.min(eta, 10))), // 1 from there on
  sign: (eta) => (eta > 0 ? 1 : 0),
};

/**
 * 1 - erf(x), to some units in the last place.
 *
 * Below 2 by the series erf(x) = 2/√π exp(-x²) Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)), whose terms have one sign; from there on by
 * the continued fraction exp(-x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …)))), from its 100th denominator back
 * (M. Abramowitz, I. Stegun, Handbook of mathematical functions, 7.1.6 and 7.1.14).
 */
export function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; term > 1e-17 * sum; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let denominator = x;
  for (let n = 100; n > 0; n--) denominator = x + n / 2 / denominator;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / denominator;
}

function softmax(eta) {
  const largest = Math.max(...eta);
  const e = eta.map((one) => Math.exp(one - largest));
  const sum = e.reduce((a, b) => a + b);
  return e.map((one) => one / sum);
}

/** The first of the largest. */
function placeOfLargest(numbers) {
  return numbers.reduce((best, number, k) => (number > numbers[best] ? k : best), 0);
}

export class Model {
  #coef; // d rows of K numbers
  #intercept; // K numbers

  /** @param exported the object of a file that `mpigd export` has written: see mpigd/exchange/model.schema.json */
  constructor(exported) {
    if (exported?.format !== FORMAT) {
      throw new TypeError(`not a model of mpigd: its format is ${exported?.format}; expected ${FORMAT}`);
    }
    const { loss, link, feature_names, classes, threshold, coef, intercept } = exported;
    if (link !== "multinomial logit" && !Object.hasOwn(MEANS, link)) {
      throw new TypeError(`the link ${link} is not known to this version`);
    }
    this.single = typeof intercept === "number"; // one output
    this.#intercept = this.single ? [intercept] : [...intercept];
    this.#coef = coef.map((row) => (this.single ? [row] : [...row]));
    if (coef.length !== feature_names.length || this.#coef.some((row) => row.length !== this.#intercept.length)) {
      throw new TypeError("damaged model: coef, intercept and feature_names do not fit each other");
    }
    this.loss = loss;
    this.link = link;
    this.features = [...feature_names];
    this.classes = [...classes];
    this.threshold = threshold ?? null;
  }

  get hasProbabilities() {
    return this.classes.length > 0 && this.link !== "sign";
  }

  /** Linear predictors: of each row a number, or K of several outputs. */
  eta(rows) {
    return rows.map((row, i) => this.#shown(this.#etaOf(row, i)));
  }

  /** Of each row the label of its class, or the expected y, or K of several outputs. */
  predict(rows) {
    return rows.map((row, i) => {
      const mean = this.#mean(this.#etaOf(row, i));
      if (this.classes.length === 0) return this.#shown(mean);
      if (this.threshold !== null) return this.classes[mean[1] >= this.threshold ? 1 : 0];
      return this.classes[placeOfLargest(mean)];
    });
  }

  /** Of each row the probabilities of all classes, in the order of `classes`. */
  predictProba(rows) {
    if (!this.hasProbabilities) {
      throw new TypeError("the model has no probabilities of classes: its loss gives numbers, or the side alone");
    }
    return rows.map((row, i) => this.#mean(this.#etaOf(row, i)));
  }

  #shown(numbers) {
    return this.single ? numbers[0] : numbers;
  }

  /** Probabilities of classes (of several sides, their predictors), or the K expected y. */
  #mean(eta) {
    if (this.link === "multinomial logit") return softmax(eta);
    if (!this.single) return this.link === "sign" ? eta : eta.map(MEANS[this.link]);
    const mean = MEANS[this.link](eta[0]);
    return this.classes.length ? [1 - mean, mean] : [mean];
  }

  #etaOf(row, i) {
    const numbers = ArrayBuffer.isView(row) || Array.isArray(row) ? row : this.#byName(row, i);
    if (numbers.length !== this.features.length) {
      throw new RangeError(`row ${i} has ${numbers.length} columns; the model has ${this.features.length}`);
    }
    const eta = [...this.#intercept];
    for (let j = 0; j < numbers.length; j++) {
      for (let k = 0; k < eta.length; k++) eta[k] += numbers[j] * this.#coef[j][k];
    }
    if (!eta.every(Number.isFinite)) {
      throw new RangeError(`row ${i} holds a number that is not finite, or too large; remove or impute it`);
    }
    return eta;
  }

  #byName(row, i) {
    return this.features.map((name) => {
      if (!Object.hasOwn(row, name)) throw new RangeError(`row ${i} has no column '${name}'`);
      return row[name];
    });
  }
}
