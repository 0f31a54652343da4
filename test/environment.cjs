const {TestEnvironment} = require('jest-environment-node');
const {setFlagsFromString} = require('node:v8');
const vm = require('node:vm');

// V8 optimizes a function after a tenth of this. Most of the code that a test runs takes less than optimizing it does:
// without this, the unit tests take a quarter more processor time.
setFlagsFromString('--interrupt-budget=1500000');

/*
 * Jest compiles every module again for each test file, which takes half of the time that a small file needs. Here a
 * worker compiles a module once and runs the result in the context of each file. `import()` needs nothing from Jest:
 * modules of TypeScript are CommonJS by then.
 */
const {compileFunction} = vm;
const scripts = new Map();
// Coverage counts in places of the source, which the head of the function moves.
let isCovered = false;

vm.compileFunction = (code, parameters = [], options = {}) => {
  const {filename, parsingContext} = options;
  if (isCovered || parsingContext === undefined || /\.test\.ts$/.test(filename)) {
    return compileFunction(code, parameters, options);
  }
  const head = `(function (${parameters.join(', ')}) {`;
  let known = scripts.get(filename);
  if (known?.code !== code || known.head !== head) {
    known = {code, head, script: new vm.Script(`${head}${code}\n})`, {filename, columnOffset: -head.length})};
    scripts.set(filename, known);
  }
  return known.script.runInContext(parsingContext);
};

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    isCovered = config.globalConfig.collectCoverage;
  }
};
