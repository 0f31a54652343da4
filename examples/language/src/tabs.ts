import {byId} from '../../shared/dom';

/** Makes a `tablist` work by mouse and by arrow keys, Home and End. Each tab shows the panel that it controls. */
export function connectTabs(list: HTMLElement, onSelect: (id: string) => void): void {
  const tabs = [...list.querySelectorAll<HTMLButtonElement>('[role=tab]')];
  const select = (selected: HTMLButtonElement) => {
    for (const tab of tabs) {
      tab.ariaSelected = String(tab === selected);
      tab.tabIndex = tab === selected ? 0 : -1;
      byId(tab.getAttribute('aria-controls')!).hidden = tab !== selected;
    }
    onSelect(selected.id);
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', ({key}) => {
      const next = {ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1}[key];
      if (next !== undefined) {
        const other = tabs[next % tabs.length]!;
        other.focus();
        select(other);
      }
    });
  });
}
