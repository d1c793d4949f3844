// Theme of the surrounding Airflow page, and links to Airflow's own pages, which a frame may not follow by itself.
(() => {
  "use strict";
  const airflow = window.parent !== window ? window.parent.document : null;
  const follow = () => {
    const chosen = airflow ? (airflow.documentElement.classList.contains("dark") ? "dark" : "light")
      : { dark: "dark", light: "light" }[localStorage.getItem("theme")];
    if (chosen) document.documentElement.dataset.theme = chosen;
  };
  follow();
  if (!airflow) return;
  new window.MutationObserver(follow).observe(airflow.documentElement, { attributeFilter: ["class"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const copy = airflow.createElement("a");
    copy.href = link.href;
    airflow.body.append(copy);
    copy.click();
    copy.remove();
  });
})();
