// Times in the reader's zone (UTC on hover), also those that the reader writes; and the switch between light and dark.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const pad = (number) => String(number).padStart(2, "0");
  const written = (moment) =>
    `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())} ` +
    `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;

  const times = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!time.dateTime || Number.isNaN(moment.valueOf()) || time.dataset.local) continue;
      const utc = `${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      const isPlain = /^\d{4}-/.test(time.textContent);
      if (isPlain) time.textContent = written(moment);
      time.title = isPlain ? utc : `${written(moment)} · ${utc}`;
      time.dataset.local = "yes";
    }
  };

  // Fields for moments: what the page was asked for is shown in the reader's zone. What is written there is sent with
  // the offset that the zone then has, so that an address means the same everywhere.
  const fields = (root) => {
    for (const field of root.querySelectorAll("input[data-moment]")) {
      const moment = new Date(field.dataset.moment);
      if (!field.dataset.moment || Number.isNaN(moment.valueOf()) || field.dataset.local) continue;
      field.value = written(moment) + (/\.\d+/.exec(field.dataset.moment) || "");
      field.dataset.local = field.value;
    }
    for (const one of root.querySelectorAll("[data-utc]")) one.hidden = true;
  };
  const WRITTEN = /^(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?)?$/i;
  const DAYS = new Map([["today", 0], ["yesterday", -1]]);
  const exact = (moment, fraction) => {
    const minutes = -moment.getTimezoneOffset();
    const offset = `${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
    return `${written(moment).replace(" ", "T")}${fraction || ""}${minutes < 0 ? "-" : "+"}${offset}`;
  };
  // A day ends where the next one begins, which is not midnight in every zone.
  const day = (year, month, date, isEnd) => new Date(year, month, Number(date) + (isEnd ? 1 : 0));
  const sent = (text, isEnd) => {
    const now = new Date();
    const back = DAYS.get(text.toLowerCase());
    if (back !== undefined) return exact(day(now.getFullYear(), now.getMonth(), now.getDate() + back, isEnd));
    const found = WRITTEN.exec(text);
    if (!found) return text;
    const [, year, month, date, hour, minute, second, fraction] = found;
    // What is no date is the server's to refuse.
    if (!written(day(year, month - 1, date)).startsWith(`${year}-${month}-${date}`)) return text;
    if (hour === undefined) return exact(day(year, month - 1, date, isEnd));
    if (hour > 23 || minute > 59 || second > 59) return text;
    return exact(new Date(year, month - 1, date, hour, minute, second || 0), fraction);
  };
  document.addEventListener("formdata", (event) => {
    for (const name of ["since", "until"]) {
      const text = event.formData.get(name);
      if (!text) continue;
      const { local, moment } = event.target.elements[name]?.dataset || {};
      // Untouched, it is the moment that it was: the hour that comes twice a year has two of them.
      event.formData.set(name, text === local ? moment : sent(text.trim(), name === "until"));
    }
  });

  const root = document.documentElement;
  const isDark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = (button) => { button.textContent = isDark() ? "Light" : "Dark"; };

  document.addEventListener("DOMContentLoaded", () => {
    times(document);
    fields(document);
    for (const one of document.querySelectorAll("[data-zone]")) {
      one.textContent = `Times are in your zone, ${zone}; hover for UTC. Dates that you write are in it, too.`;
    }
    const button = document.querySelector("[data-theme-toggle]");
    button.hidden = false;
    label(button);
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      label(button);
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then it holds for this page */ }
      document.dispatchEvent(new Event("archiver:theme"));
    });
  });
  document.addEventListener("htmx:afterSettle", () => {
    times(document);
    fields(document);
  });
})();
