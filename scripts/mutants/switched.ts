import ts from 'typescript';
import {type Mutation, mutated} from './mutations';

const ASSIGNMENT = /^(?:[-+*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)?=$/;

/** A file with mutants that are switched on by `globalThis.mutant.id`, and those that cannot be switched. */
export interface Switched<Mutant> {
  code: string;
  others: Mutant[];
}

/** Puts all mutants of a file in it, each behind its number. */
export function switched<Mutant extends Mutation & {id: number}>(
  source: string,
  mutants: readonly Mutant[],
): Switched<Mutant> {
  const file = ts.createSourceFile('', source, ts.ScriptTarget.ES2022, true);
  /** What is written around a piece of the file, from outside to inside. */
  const around = new Map<ts.Node, {before: string; after: string}>();
  const others: Mutant[] = [];
  for (const mutant of mutants) {
    const {start, end, text, id} = mutant;
    const node = covering(file, start, end);
    const isEarly = start === end;
    const isLeftOut = !isEarly && (text === '' || text === ';') && ts.isStatement(node);
    if (isEarly || isLeftOut) {
      const statement = isEarly ? statementAt(file, start) : node;
      const parts = around.get(statement) ?? {before: '', after: ''};
      // An early return is not inside what is left out.
      around.set(
        statement,
        isEarly
          ? {...parts, before: `if(__mutant.id===${id})return;${parts.before}`}
          : {before: `${parts.before}if(__mutant.id!==${id}){`, after: `}${parts.after}`},
      );
      continue;
    }
    const expression = wrappable(node);
    if (expression === undefined) {
      others.push(mutant);
      continue;
    }
    const first = expression.getStart();
    const {before, after} = around.get(expression) ?? {before: '', after: ''};
    const changed = mutated(source, mutant).slice(first, expression.end + text.length - (end - start));
    around.set(expression, {before: `${before}(__mutant.id===${id}?(${changed}):`, after: `)${after}`});
  }
  const inserts = [...around].flatMap(([node, {before, after}]) => {
    const [start, {end}] = [node.getStart(), node];
    const isExpression = !ts.isStatement(node);
    const depth = depthOf(node);
    return [
      {at: start, isEnd: false, depth, text: isExpression ? `${before}(` : before},
      {at: end, isEnd: true, depth, text: isExpression ? `)${after}` : after},
    ];
  });
  // At one place, what ends comes before what begins, and what is outside begins first and ends last.
  inserts.sort(
    (one, other) =>
      one.at - other.at ||
      Number(other.isEnd) - Number(one.isEnd) ||
      (one.isEnd ? other.depth - one.depth : one.depth - other.depth),
  );
  let code = 'const __mutant=(globalThis.mutant??={id:-1});';
  let place = 0;
  for (const {at, text} of inserts) {
    code += source.slice(place, at) + text;
    place = at;
  }
  return {code: code + source.slice(place), others};
}

/** The innermost node that covers a piece of the file. */
function covering(node: ts.Node, start: number, end: number): ts.Node {
  const inner = ts.forEachChild(node, child =>
    child.getStart() <= start && end <= child.end && child.getStart() < child.end ? child : undefined,
  );
  return inner === undefined ? node : covering(inner, start, end);
}

/** The outermost statement that begins at a place, in a block. */
function statementAt(file: ts.SourceFile, place: number): ts.Node {
  let statement: ts.Node = file;
  for (let node = covering(file, place, place + 1); node !== file; node = node.parent) {
    if (ts.isStatement(node) && node.getStart() === place) {
      statement = node;
    }
  }
  return statement;
}

function depthOf(node: ts.Node): number {
  let depth = 0;
  for (let each = node; (each.parent as ts.Node | undefined) !== undefined; each = each.parent) {
    depth++;
  }
  return depth;
}

/** The innermost expression around a node that may be put in parentheses; `undefined` if there is none. */
function wrappable(node: ts.Node): ts.Node | undefined {
  for (let each = node; !ts.isStatement(each) && !ts.isSourceFile(each); each = each.parent) {
    if (mayBeWrapped(each)) {
      return isOfSuper(each) ? undefined : each;
    }
  }
  return undefined;
}

function mayBeWrapped(node: ts.Node): boolean {
  const {parent} = node;
  const isOperand = 'expression' in parent && parent.expression === node;
  return (
    ts.isExpression(node) &&
    !ts.isSpreadElement(node) &&
    !ts.isOmittedExpression(node) &&
    !ts.isExpressionWithTypeArguments(node) &&
    !('name' in parent && parent.name === node) &&
    !('propertyName' in parent && parent.propertyName === node) &&
    !ts.isShorthandPropertyAssignment(parent) &&
    !(ts.isBinaryExpression(parent) && parent.left === node && ASSIGNMENT.test(parent.operatorToken.getText())) &&
    !ts.isPostfixUnaryExpression(parent) &&
    !(ts.isPrefixUnaryExpression(parent) && /^(?:\+\+|--)/.test(parent.getText())) &&
    !((ts.isForOfStatement(parent) || ts.isForInStatement(parent)) && parent.initializer === node) &&
    !ts.isDeleteExpression(parent) &&
    // What is called keeps its `this`, and a chain is cut short as a whole.
    !(isOperand && (ts.isCallExpression(parent) || ts.isNewExpression(parent))) &&
    !(isOperand && (ts.isNonNullExpression(parent) || (ts.isOptionalChain(node) && ts.isOptionalChain(parent)))) &&
    !(ts.isAsExpression(parent) && parent.type.getText() === 'const')
  );
}

function isOfSuper(node: ts.Node): boolean {
  for (let each = node; (each.parent as ts.Node | undefined) !== undefined; each = each.parent) {
    if (ts.isCallExpression(each) && each.expression.kind === ts.SyntaxKind.SuperKeyword) {
      return true;
    }
  }
  return false;
}
