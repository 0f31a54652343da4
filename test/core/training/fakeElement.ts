/** An element of a page, as far as a bar of progress needs one, and what it shows. */
export function fakeElement() {
  const ownerDocument = {
    createElement: (tag: string) => {
      const attributes: Record<string, string> = {};
      return {
        tag,
        attributes,
        value: undefined as number | undefined,
        textContent: '',
        setAttribute: (name: string, value: string) => void (attributes[name] = value),
        removeAttribute(name: 'value') {
          this[name] = undefined;
        },
      };
    },
  };
  type Child = ReturnType<typeof ownerDocument.createElement>;
  const children: Child[] = [];
  const replaceChildren = (...nodes: Child[]) => void children.splice(0, children.length, ...nodes);
  return {element: {ownerDocument, replaceChildren} as unknown as HTMLElement, children};
}
